"""What every part of the configuration is."""

from __future__ import annotations

import json

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values do not change."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    def __hash__(self) -> int:
        """Equal sections have equal hashes, those with mappings too."""
        return hash(json.dumps(self.model_dump(mode="json"), sort_keys=True))
