"""A checkpoint -> the model or the encoder in it, and the bars that fit it."""

from __future__ import annotations

from pathlib import Path

from stage1.config import Config
from stage1.data.bars import Bars
from stage1.data.load import load_data
from stage1.data.store import found_timeframes
from stage1.data.whole_windows import check_timeframes
from stage1.errors import ResultsError
from stage1.faults import brief
from stage1.model.market_encoder import MarketEncoder
from stage1.model.stage1_model import Stage1Model, model_of_weights
from stage1.training.record import Trained, read_trained


def load_encoder(checkpoint: str | Path) -> MarketEncoder:
    """Load the encoder of a training, for the next stage; also as `stage1.load_encoder`.

    A `torch.nn.Module` on the CPU, in evaluation mode, all weights float32 and free to learn. It
    needs nothing but the checkpoint: neither bars nor the language model that the training began
    with. Its `timeframes`, `seq_len` and `d_model` say what goes in and comes out, its `config`
    what it was trained with:

        encoder = stage1.load_encoder("runs/train/best/last.ckpt")
        windows = encoder.windows(bars_for(encoder.config, Path("data/derived")))
        for batch in windows.batches():
            codes = encoder(batch.features, real=batch.real)
            vectors = encoder.embed(batch.features, batch.real)

    with the `bars_for` of this module. `features` are (batch, timeframes, seq_len, 6), of a series
    twice its channels in place of the 6; `codes` are (batch, timeframes, seq_len, d_model),
    `vectors` (batch, timeframes, d_model); `windows.ends` are the instants (unix seconds) at which
    the windows' bars are completed.

    Args:
        checkpoint: Of `stage1.train`, or of a study's `checkpoints/`.

    Raises:
        ResultsError: Missing, damaged, not made here, or holding anything but tensors and plain
            values.
    """
    trained = read_trained(Path(checkpoint))
    encoder = MarketEncoder(
        trained_model(trained), trained.record.config, trained.record.statistics
    )
    return encoder.eval()


def trained_model(trained: Trained) -> Stage1Model:
    """The whole model of a checkpoint.

    Raises:
        ResultsError: The weights are not those of its configuration.
    """
    record = trained.record
    try:
        return model_of_weights(record.config, record.t5_shape, trained.weights)
    except (RuntimeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ResultsError(
            f"{trained.path}: must hold the weights of its own configuration, got others "
            f"({brief(str(error))}); take another checkpoint"
        ) from None


def bars_for(config: Config, data_dir: Path | None) -> dict[str, Bars]:
    """Load the bars, or the series, that a model reads.

    Args:
        config: The model's.
        data_dir: Folder made by `stage1.prepare`; None for the bundled sample.

    Raises:
        DataError: A timeframe or a channel is missing, the step is another, or a bar is not sound.
    """
    if config.data.kind == "ohlc" and data_dir is not None and data_dir.is_dir():
        check_timeframes(found_timeframes(data_dir), config.data, f"{data_dir}:")
    bars, _ = load_data(data_dir, config)
    return bars
