"""What a study fixes before its first trial, and whether it was left as it was.

prereg.yaml begins with a checksum of what follows. `read_preregistration` says what was fixed,
`preregistration_deviations` what has been changed since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal, NamedTuple, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from stage1.base.errors import ResultsError
from stage1.base.files import checksum_holds, sha256_of_file, with_checksum
from stage1.base.text import plural, shown
from stage1.config.rules import RuleError
from stage1.run.columns import CONTROLS, SHUFFLED
from stage1.run.folder import RunFolder
from stage1.run.looks import DesignSize, configuration_number, look_fault, look_level
from stage1.run.resolved_space import MOST_EPOCHS, Word, read_mapping, read_model

EARLY_SHARE = 0.2
"""The early epoch of the claims, as a share of the horizon: epoch 3 of 15."""
COST_MARGIN = 1.15
"""Cost the plan allows a pretrained T5, as a multiple of the vanilla encoder's."""
COST_ROUNDS = 6
"""Timings of each arm per language model."""
SEARCHED = "searched"
"""In place of a setting of the random arm that varies from configuration to configuration."""


class RegisteredClaims(NamedTuple):
    """What a study fixes of the claims about scores."""

    sizes: dict[str, float]
    """Lower end of what is claimed, by claim."""
    error_rate: float
    """Of the interval that decides a claim, two-sided."""


class Part(BaseModel):
    """A part of the registration; keys of a later version are passed over."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", allow_inf_nan=False, use_attribute_docstrings=True
    )


class RandomArm(Part):
    """What decides how strong the random arm is."""

    initializer_factor: float | Literal["searched"]
    """Scale of its initial weights, as transformers defines it."""
    input_scale: float | Literal["searched"] | None
    """RMS of the tokens that enter its T5; null = that of the language model's embeddings."""


class CostPlan(Part):
    """What the claim about cost is about."""

    size: Word
    """Language model whose ratio decides."""
    patch_len: int = Field(ge=1)
    """Bars per token."""
    margin: float = Field(COST_MARGIN, gt=1)
    """Largest ratio of seconds per step, pretrained to vanilla, that the claim allows."""
    rounds: int = Field(COST_ROUNDS, ge=1)
    """Timings of each arm."""


class WarmStart(Part):
    """What the search was told of an earlier study, of which nothing else knows."""

    run: Word
    """Its folder, as it was named."""
    prereg_sha256: str
    """Of its prereg.yaml."""
    trials_sha256: str
    """Of the file of this run that holds what was told."""
    told: dict[Word, int]
    """Configurations by arm of this study."""
    left_out: dict[Word, int]
    """Configurations that were not told, by reason."""

    def __str__(self) -> str:
        told = f"{plural(sum(self.told.values()), 'configuration')} of {self.run}"
        by_arm = ", ".join(f"{arm} {count}" for arm, count in self.told.items())
        left = "".join(f"; {count} left out: {why}" for why, count in self.left_out.items())
        return told + (f" ({by_arm})" if by_arm else "") + left


class Preregistration(Part):
    """What was fixed before the first trial."""

    space_sha256: str
    """Of space.yaml, the resolved study."""
    written_at: datetime
    """When, with its time zone."""
    arms: list[Word] = Field(min_length=1)
    """All arms, in the study's order."""
    roles: dict[str, Word]
    """Arm by its role in the comparisons."""
    configurations: int = Field(ge=1)
    """Of the design, at its last registered look."""
    seeds: list[int] = Field(min_length=1)
    """Of the design."""
    replicated: int | None = Field(None, ge=0)
    """So many of the first configurations are trained with every seed, the others with the first
    one; null = all with every seed."""
    control: int | None = Field(None, ge=0)
    """So many of the first configurations are trained with shuffled weights in any case, all of
    them where a gain asks for it; null = all in any case."""
    distinct: dict[int, int] = {}
    """Distinct configurations among so many first points, where some came out equal."""
    confirm_seeds: list[int] | None = None
    """Of the stage confirm; null where an earlier version wrote the file: the design's."""
    horizon_epoch: int = Field(ge=1, le=MOST_EPOCHS)
    """Last epoch."""
    early_epoch: int = Field(ge=1)
    """Epoch of the claims about the beginning."""
    looks: Literal[1] | list[int] = 1
    """After how many configurations verdicts are given; 1 = once, at the end of the design."""
    spending: Word | None = None
    """How the looks share the error rate; null with one look."""
    claims: dict[Word, float] | None = None
    """Lower end of what is claimed, by claim; null where an earlier version wrote the file."""
    level: float = Field(0.05 / 6, gt=0, lt=1)
    """Two-sided error rate of the intervals that decide a claim, over all looks."""
    random_arm: RandomArm | None
    """Of the role random; null without that role."""
    cost: CostPlan | None
    """Null without a pretrained T5."""
    warm_start: WarmStart | None = None
    """Of the search; null without an earlier study."""
    training_windows: int | None = Field(None, ge=1)
    """Of the base configuration; null where an earlier version wrote the file."""
    language_models: dict[Word, Word]
    """SHA-256 of the weights by name."""
    versions: dict[Word, Word]
    """Of the packages that the numbers depend on."""
    metrics: dict[Word, Word] = {}
    """SHA-256 of the source of a user's own metrics, by name. No claim rests on them."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        faults = []
        if self.early_epoch > self.horizon_epoch:
            rule = f"must be <= horizon_epoch={self.horizon_epoch}, got {self.early_epoch}"
            faults.append(("early_epoch", rule))
        for key, values in (("arms", self.arms), ("seeds", self.seeds)):
            if len(set(values)) < len(values):
                faults.append((key, f"must differ from each other, got {shown(values)}"))
        strangers = set(self.roles.values()) - set(self.arms)
        if strangers:
            rule = f"must be of arms={shown(self.arms)}, got {shown(min(strangers))}"
            faults.append(("roles", rule))
        if isinstance(self.looks, list) and (fault := look_fault(self.looks)):
            faults.append(("looks", fault))
        if faults:
            raise RuleError(*faults)
        return self

    @property
    def size(self) -> DesignSize:
        """Of the design."""
        grows = isinstance(self.looks, list)
        looks = tuple(self.looks) if isinstance(self.looks, list) else (self.configurations,)
        return DesignSize(looks, len(self.seeds), self.replicated, self.control, grows)

    @property
    def paired_arms(self) -> list[str]:
        """Arms that are trained on every configuration of the design from the start."""
        later = control_arm(self.roles, self.size)
        return [arm for arm in self.arms if arm != later]

    @property
    def trainable_arms(self) -> list[str]:
        """Arms that somebody would train for their own sake; the others are controls."""
        return trainable_arms(self.arms, self.roles)

    def distinct_of(self, configurations: int) -> int:
        """How many distinct configurations the first points of the design are."""
        return self.distinct.get(configurations, configurations)

    def looks_taken(self, ended: Iterable[tuple[str, str, int]]) -> list[int]:
        """The looks at which verdicts are given: announced ones, and doublings that followed.

        A look is taken once every paired arm's trainings of its configurations have ended.

        Args:
            ended: Arm, config_id and seed of the design's trials that have ended, in any way.
        """
        size, taken = self.size, list[int]()
        by_configuration: dict[str, set[tuple[str, int]]] = {}
        for arm, config_id, seed in ended:
            if arm in self.paired_arms:
                by_configuration.setdefault(config_id, set()).add((arm, seed))
        for look in size.every_look():
            wanted = self.distinct_of(look)
            names = self.configurations_of(by_configuration, look)
            whole = len(names) == wanted and all(
                by_configuration[name] >= self._pairs_of(position)
                for position, name in enumerate(names)
            )
            if not whole or (taken and wanted == self.distinct_of(taken[-1])):
                break
            taken.append(look)
        return taken

    def planned_trials(
        self, ended: Iterable[tuple[str, str, int]], *, over: bool, control_too: bool = False
    ) -> dict[str, int]:
        """How many trials the design has in each arm, as far as is known.

        Args:
            ended: Arm, config_id and seed of the design's trials that have ended, in any way.
            over: Whether the design ends at the last look that was taken: claim 1 is decided
                there, or the search has begun.
            control_too: Whether a gain at that look asks for shuffled weights.
        """
        trials, size = list(ended), self.size
        taken = self.looks_taken(trials)
        look = taken[-1] if over and taken else size.configurations
        if size.grows:  # perhaps beyond what was announced
            look = max(look, size.begun_look(config_id for _, config_id, _ in trials))
        distinct = self.distinct_of(look)
        planned = dict.fromkeys(self.arms, size.pairs(distinct))
        if control := control_arm(self.roles, size):
            controls = size.pairs(min(size.control or 0, distinct))
            asked = sum(arm == control for arm, _, _ in trials) > controls
            if not (asked or (control_too and look in taken)):
                planned[control] = controls
        return planned

    def configurations_of(self, config_ids: Iterable[str], look: int) -> list[str]:
        """Those configurations of the design that a look is about, in the design's order."""
        names = sorted(set(config_ids), key=lambda name: (configuration_number(name), name))
        if not self.size.grows:
            return names[:look]
        return [name for name in names if configuration_number(name) < look]

    def _pairs_of(self, position: int) -> set[tuple[str, int]]:
        seeds = self.seeds[: self.size.seeds_of(position)]
        return {(arm, seed) for arm in self.paired_arms for seed in seeds}

    def level_of(self, look: int) -> float:
        """The two-sided error rate of the intervals at a look that was taken."""
        size = self.size
        if not size.grows:
            return self.level
        looks = [one for one in size.every_look() if one <= look]
        return look_level(looks, looks.index(look), error_rate=self.level)


def control_arm(roles: Mapping[str, str], size: DesignSize) -> str | None:
    """The arm that is trained on all configurations only where a gain asks for it."""
    return None if size.control is None else roles.get(SHUFFLED)


def trainable_arms(arms: Iterable[str], roles: Mapping[str, str]) -> list[str]:
    """Arms that somebody would train for their own sake; all of them where each is a control."""
    controls = {arm for role, arm in roles.items() if role in CONTROLS}
    every = list(arms)
    return [arm for arm in every if arm not in controls] or every


def early_epoch(horizon_epochs: int) -> int:
    """The epoch of the claims about the beginning: a fifth of the horizon, at least 1."""
    return max(round(EARLY_SHARE * horizon_epochs), 1)


def preregistration_text(registered: Preregistration) -> str:
    """The content of prereg.yaml: a checksum, then every key."""
    text = yaml.safe_dump(registered.model_dump(mode="json"), sort_keys=False)
    return with_checksum(text, "")


def read_preregistration(run: RunFolder) -> Preregistration:
    """What the run fixed before its first trial, edited since or not; raises as `read_model`."""
    return read_model(run, run.prereg, Preregistration)


def preregistration_deviations(run: RunFolder) -> list[str]:
    """How the run's first two files differ from what was written before the first trial.

    Returns:
        Sentences for people; empty if nothing was changed.
    """
    try:
        content = read_mapping(run, run.prereg).values
    except ResultsError as error:
        return [f"{run.prereg.name} cannot be read, so nothing in it counts as fixed: {error}."]
    deviations = []
    match is_untouched(run):
        case None:
            deviations.append(
                f"{run.prereg.name} has no checksum, so nobody can tell whether it was edited "
                "after the first trial."
            )
        case False:
            deviations.append(
                f"{run.prereg.name} was edited after it was written: its checksum does not fit."
            )
    if not run.space.is_file() or content.get("space_sha256") != sha256_of_file(run.space):
        deviations.append(
            f"{run.space.name} is not the file that was registered before the first trial: it was "
            "edited or replaced."
        )
    return deviations


def check_metrics(run: RunFolder, then: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Refuse to go on with other metrics of a user's: rows of one table must be comparable.

    Args:
        run: Of the study.
        then: SHA-256 of the source of each, by name, as it was registered.
        now: The same of those that were given now.

    Raises:
        ResultsError: One is lacking, is another, or is new.
    """
    lacking, further = sorted(then.keys() - now.keys()), sorted(now.keys() - then.keys())
    changed = sorted(name for name in then.keys() & now.keys() if then[name] != now[name])
    for names, fault, advice in (
        (
            lacking,
            "must be given again, got none of that name",
            "go on from Python: stage1.run_study(SPACE, metrics={"
            + ", ".join(f"{name!r}: FUNCTION" for name in then)
            + "}, resume=True), with the other arguments of then",
        ),
        (
            changed,
            "must be the function that was registered, got another source",
            "undo the change, or start a new run with another --out",
        ),
        (
            further,
            "must have been registered before the first trial, got a new one",
            "leave it out, or start a new run with another --out",
        ),
    ):
        if names:
            raise ResultsError(f"{run.prereg}: metrics: {', '.join(names)}: {fault}; {advice}")


def is_untouched(run: RunFolder) -> bool | None:
    """Whether prereg.yaml is as it was written; None if it has no checksum."""
    return checksum_holds(run.prereg.read_text(encoding="utf-8"), "")
