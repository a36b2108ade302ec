import json
from importlib.resources import files
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from stage1.base.errors import ResultsError
from stage1.language_models.names import bundled_names
from stage1.pretrain.card import Card, read_card, render, write_card

NANO = Path(str(files("stage1"))) / "language_models" / "bundled" / "english-t5-nano"


@pytest.fixture
def card():
    return read_card(NANO)


def changed(card, **values):
    return Card.model_validate(card.model_dump() | values)


def test_a_card_is_read_as_it_was_written(card, tmp_path):
    write_card(card, tmp_path)

    assert read_card(tmp_path) == card
    assert json.loads((tmp_path / "card.json").read_text())["license"] == card.license
    assert (tmp_path / "README.md").read_text() == render(card)


@pytest.mark.parametrize("name", bundled_names())
def test_the_bundled_cards_say_what_their_numbers_say(name):
    folder = NANO.parent / name

    assert (folder / "README.md").read_text() == render(read_card(folder))


def test_every_table_of_a_card_is_one(card):
    html = MarkdownIt().enable("table").render(render(card).split("---\n", 2)[2])

    tables = html.split("<table>")[1:]
    assert len(tables) == 4
    assert "| ---" not in html
    assert f"<td>{card.training.steps:,}</td>" in tables[-1]  # the curve's last point
    assert html.count("<blockquote>") == 3


def test_what_comes_from_the_corpus_cannot_write_markdown(card):
    example = {"before": "a *b* <i>", "after": "[c](d)", "hidden": "_e_", "answer": ""}
    example |= {"guesses": [("▁*", 0.125)], "rank": 1234}

    html = MarkdownIt().render(render(changed(card, infilling=[example])))

    assert "a *b* &lt;i&gt;" in html
    assert "[c](d)" in html
    assert "<em>_e_</em>" in html
    assert "(nothing)" in html
    assert "<em>▁*</em> 12.5 %" in html
    assert "number 1,234" in html


def test_a_card_without_sources_and_shorter_run_says_so_or_nothing(card):
    corpus = card.corpus.model_dump() | {"sources": []}

    text = render(changed(card, corpus=corpus, shorter=None))

    assert "Text files without a `sources.json`" in text
    assert "stage1.pretrain.fetch" not in text
    assert "doubling" not in text


def test_the_gain_per_doubling_is_the_mean_over_the_doublings(card):
    losses = {"model": 5.0, "unigram": 6.5, "untrained": 9.0}
    training = card.training.model_dump() | {"steps": 8000}

    shorter = {"steps": 1000, "held_out_loss": 5.6}
    longer = changed(card, training=training, held_out_loss=losses, shorter=shorter)

    assert longer.gain_per_doubling == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("content", "fault"),
    [("{", "its form"), ('{"name": "x"}', "size")],
    ids=["no JSON", "keys missing"],
)
def test_a_card_of_another_make_is_one_line(tmp_path, content, fault):
    (tmp_path / "card.json").write_text(content)

    with pytest.raises(ResultsError, match="must be a card that") as caught:
        read_card(tmp_path)

    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)
