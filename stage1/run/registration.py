"""What a study fixes before its first trial, and whether it was left as it was.

prereg.yaml begins with a checksum of what follows. `read_preregistration` says what was fixed,
`preregistration_deviations` what has been changed since.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from stage1.base.errors import ResultsError
from stage1.base.files import checksum_holds, sha256_of_file, with_checksum
from stage1.base.text import shown
from stage1.config.rules import RuleError
from stage1.run.folder import RunFolder
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
    """Of the design."""
    seeds: list[int] = Field(min_length=1)
    """Of the design; every configuration is trained with each."""
    horizon_epoch: int = Field(ge=1, le=MOST_EPOCHS)
    """Last epoch."""
    early_epoch: int = Field(ge=1)
    """Epoch of the claims about the beginning."""
    looks: Literal[1] = 1
    """How often verdicts are given: at the end of the design."""
    claims: dict[Word, float] | None = None
    """Lower end of what is claimed, by claim; null where an earlier version wrote the file."""
    level: float = Field(0.05 / 6, gt=0, lt=1)
    """Two-sided error rate of the interval that decides a claim."""
    random_arm: RandomArm | None
    """Of the role random; null without that role."""
    cost: CostPlan | None
    """Null without a pretrained T5."""
    language_models: dict[Word, Word]
    """SHA-256 of the weights by name."""
    versions: dict[Word, Word]
    """Of the packages that the numbers depend on."""

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
        if faults:
            raise RuleError(*faults)
        return self


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


def is_untouched(run: RunFolder) -> bool | None:
    """Whether prereg.yaml is as it was written; None if it has no checksum."""
    return checksum_holds(run.prereg.read_text(encoding="utf-8"), "")
