"""A checkpoint -> the model or the encoder in it, and the bars that fit it."""

from __future__ import annotations

from pathlib import Path

from stage1.data.bars import Bars
from stage1.data.store import found_timeframes, load_bars
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
        windows = encoder.windows(load_bars(Path("data/derived"), encoder.timeframes))
        for batch in windows.batches():
            codes = encoder(batch.features, real=batch.real)
            vectors = encoder.embed(batch.features, batch.real)

    with `load_bars` of `stage1.data.store`. `features` are (batch, timeframes, seq_len, 6), `codes`
    (batch, timeframes, seq_len, d_model), `vectors` (batch, timeframes, d_model); `windows.ends`
    are the instants (unix seconds) at which the windows' bars are completed.

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


def bars_for(timeframes: tuple[str, ...], data_dir: Path | None) -> dict[str, Bars]:
    """Load the bars that a model reads.

    Args:
        timeframes: The model's.
        data_dir: Folder of prepared bars; None for the bundled sample.

    Raises:
        DataError: A timeframe is missing, or the bars are not sound.
    """
    if data_dir is not None and data_dir.is_dir():
        check_timeframes(found_timeframes(data_dir), timeframes, f"{data_dir}:")
    return load_bars(data_dir, timeframes)
