"""`recurdrop generate`: text from a trained language model."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Annotated

import typer

from recurdrop.cli.shell import bad_input, need


def generate(
    run: Annotated[Path, typer.Argument(help="Folder of a run of a language model.")],
    prompt: Annotated[str, typer.Option(help="Words to start after; by default the end of a sentence.")] = "",
    words: Annotated[int, typer.Option(help="How many words, or characters, to write.")] = 100,
    temperature: Annotated[float, typer.Option(help="0 takes the most likely word; above 1 is bolder.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 1,
    data: Annotated[Path | None, typer.Option(help="The data of the training, if they have moved.")] = None,
) -> None:
    """Write text with a trained language model.

    Example: recurdrop generate recurdrop-runs/zaremba-small-seed1-1a2b3c4d --prompt "the company said" --words 50
    """
    need("lightning", "safetensors")
    from recurdrop.errors import invalid
    from recurdrop.kinds.language.task import LanguageTask
    from recurdrop.models.generate import generate as draw
    from recurdrop.train.run import Run

    with bad_input():
        found = Run.open(run, data)
        if not isinstance(found.task, LanguageTask):
            raise invalid("generate needs a run of a language model", found.recipe.kind, "Try recurdrop predict.")
        if words < 1:
            raise invalid("--words must be 1 or more", words, "The default is 100.")
        start = found.task.numbers(prompt) if prompt else [found.task.start()]
        drawn = draw(found.model(), start, temperature=temperature, seed=seed)
        text = found.task.text([*(start if prompt else []), *itertools.islice(drawn, words)])
    sys.stdout.write(f"{text}\n")
