"""The configuration of one training: typed, frozen, every key documented, all faults at once."""

from stage1.config.data import DataConfig, EvaluationConfig, MaskingConfig
from stage1.config.model import (
    EncoderConfig,
    Initialization,
    ModelConfig,
    StemConfig,
    TransferConfig,
)
from stage1.config.section import Section
from stage1.config.training import (
    LossConfig,
    LossWeights,
    OptimizerConfig,
    TrainingConfig,
)
from stage1.config.whole import (
    Config,
    check_config,
    config_yaml,
    load_config,
    nested,
    with_values,
)

__all__ = [
    "Config",
    "DataConfig",
    "EncoderConfig",
    "EvaluationConfig",
    "Initialization",
    "LossConfig",
    "LossWeights",
    "MaskingConfig",
    "ModelConfig",
    "OptimizerConfig",
    "Section",
    "StemConfig",
    "TrainingConfig",
    "TransferConfig",
    "check_config",
    "config_yaml",
    "load_config",
    "nested",
    "with_values",
]
