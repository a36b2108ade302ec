"""The trained encoder by itself: bars -> codes, for whatever is built on them."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from stage1.config import Config
from stage1.data.bars import Bars
from stage1.data.batches import WholeWindows
from stage1.data.features import TrainingStatistics
from stage1.model.stage1_model import Stage1Model, encode_bars


class MarketEncoder(nn.Module):
    """Windows of bars -> a code of every bar, or one of each window and timeframe.

    Stem and encoder of a trained model, without the bottleneck and the decoders, which only
    reconstruct. Its features are those of `windows`.

    Args:
        model: Trained.
        config: Of its training.
        statistics: Of the bars it was trained on.
    """

    def __init__(self, model: Stage1Model, config: Config, statistics: TrainingStatistics) -> None:
        super().__init__()
        self.stem, self.encoder = model.stem, model.encoder
        self.config, self.statistics = config, statistics

    @property
    def timeframes(self) -> tuple[str, ...]:
        """Of a window, fine to coarse, in the order of the timeframe axis."""
        return self.config.data.timeframes

    @property
    def seq_len(self) -> int:
        """Length of the time axis."""
        return self.config.data.seq_len

    @property
    def d_model(self) -> int:
        """Length of a code."""
        return self.config.model.d_model

    def forward(
        self,
        features: Float[Tensor, "batch timeframe time feature"],
        hidden: Bool[Tensor, "batch timeframe time"] | None = None,
        real: Bool[Tensor, "batch timeframe time"] | None = None,
    ) -> Float[Tensor, "batch timeframe time width"]:
        """A code of every bar, which looks at all bars of its window and timeframe.

        And at those of other timeframes, if the model was trained with `model.cross_pairs`.

        Args:
            features: Open, high, low, close, delta close, body, normalised as `windows` does it;
                (batch, timeframes, seq_len, 6). Of a series its channels, then their changes.
            hidden: True where the encoder is to see nothing; None = it sees all bars.
            real: False at padding, which calendar windows have; None = all bars are real.

        Returns:
            (batch, timeframes, seq_len, d_model); at padding it means nothing.
        """
        if hidden is None:
            hidden = torch.zeros(features.shape[:3], dtype=torch.bool, device=features.device)
        return encode_bars(self.stem, self.encoder, features, hidden, real)

    def embed(
        self,
        features: Float[Tensor, "batch timeframe time feature"],
        real: Bool[Tensor, "batch timeframe time"] | None = None,
    ) -> Float[Tensor, "batch timeframe width"]:
        """One vector of each window and timeframe: the mean of the codes of its real bars.

        The arguments are those of `forward`.

        Returns:
            (batch, timeframes, d_model), float32; 0 for a timeframe without a bar in the window.
        """
        codes: Tensor = self(features, real=real).float()
        if real is None:
            return codes.mean(dim=2)
        total = codes.masked_fill(~real.unsqueeze(-1), 0.0).sum(dim=2)
        return total / real.sum(dim=2).clamp_min(1).unsqueeze(-1)

    def windows(self, bars: dict[str, Bars], *, stride: int | None = None) -> WholeWindows:
        """All windows of some bars, whole and normalised as in the training.

        Args:
            bars: Per timeframe, at least the encoder's, as `stage1.training.encoder.bars_for` loads
                them.
            stride: Minutes, or steps of a series, between the ends of consecutive windows, >= 1;
                None = as trained.

        Raises:
            DataError: A timeframe or a channel is missing, or the bars are too few for a window.
        """
        data = self.config.data
        if stride is not None:
            data = data.model_copy(update={"stride": stride})
        calendar = self.config.model.async_sampler
        return WholeWindows(bars, data, calendar=calendar, statistics=self.statistics)
