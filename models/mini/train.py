"""Makes the checkpoint: fetches the text, draws the lists, distils the teacher, saves the files.

One command from the repository root: python -m models.mini.train --work build/mini
"""

from __future__ import annotations

import argparse
import logging
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoTokenizer
from transformers import PreTrainedTokenizerBase as Tokenizer

from models.mini import export, network, sources, teacher
from models.mini.lists import RankedList, make_lists

log = logging.getLogger(__name__)
LONGEST = 160
CHUNK = 32


@dataclass(frozen=True)
class Recipe:
    seed: int = 0
    lists: int = 24_000
    steps: int = 300
    lists_per_step: int = 16
    warm_up: int = 20
    learning_rate: float = 1e-4
    distance_weight: float = 0.05


@dataclass(frozen=True)
class Step:
    """A few lists tokenized: chunks of pairs of like length, and where each row belongs."""

    chunks: list[dict[str, Tensor]]
    order: Tensor
    targets: Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/mini"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    arguments.work.mkdir(parents=True, exist_ok=True)
    sources.fetch(arguments.work)
    recipe = Recipe(steps=arguments.steps)
    lists, _ = make_lists(arguments.work, recipe.lists, recipe.seed)
    export.save(train(lists, recipe), arguments.out)


def train(lists: list[RankedList], recipe: Recipe) -> network.Ranker:
    tokenizer = AutoTokenizer.from_pretrained(teacher.weights_folder())
    torch.manual_seed(recipe.seed)
    model = network.untrained(teacher.weights_folder())
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda at: _rate(at, recipe))
    order = random.Random(recipe.seed).sample(range(len(lists)), len(lists))
    began, mean = time.monotonic(), 0.0
    for at in range(recipe.steps):
        start = at * recipe.lists_per_step
        some = [lists[order[(start + i) % len(order)]] for i in range(recipe.lists_per_step)]
        loss = _loss(model, tokenized(tokenizer, some), recipe)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        mean += (loss.item() - mean) / min(at + 1, 50)
        if (at + 1) % 20 == 0:
            seconds = time.monotonic() - began
            log.info("step %d of %d, loss %.3f, %.0f s", at + 1, recipe.steps, mean, seconds)
    return model


def _rate(at: int, recipe: Recipe) -> float:
    return min((at + 1) / recipe.warm_up, (recipe.steps - at) / recipe.steps)


def tokenized(tokenizer: Tokenizer, lists: list[RankedList]) -> Step:
    pairs = [(item.question, passage) for item in lists for passage in item.passages]
    lengths = [len(q) + len(p) for q, p in pairs]
    order = sorted(range(len(pairs)), key=lengths.__getitem__)
    chunks = []
    for start in range(0, len(pairs), CHUNK):
        some = [pairs[i] for i in order[start : start + CHUNK]]
        encoded = tokenizer(
            [q for q, _ in some],
            [p for _, p in some],
            padding=True,
            pad_to_multiple_of=16,  # few distinct shapes: each new one costs the CPU a set-up
            truncation=True,
            max_length=LONGEST,
            return_tensors="pt",
        )
        chunks.append(dict(encoded))
    targets = torch.tensor([item.similarities for item in lists])
    return Step(chunks, torch.tensor(order).argsort(), targets * network.SCALE + network.SHIFT)


def _loss(model: network.Ranker, step: Step, recipe: Recipe) -> Tensor:
    """Match the teacher's ranking of each list, and its scale."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = torch.cat([model(**chunk) for chunk in step.chunks])
    scores = logits[step.order].view_as(step.targets)
    wanted = step.targets.log_softmax(dim=1)
    ranking = functional.kl_div(
        scores.log_softmax(dim=1), wanted, log_target=True, reduction="batchmean"
    )
    distance = functional.mse_loss(scores, step.targets)
    return ranking + recipe.distance_weight * distance


if __name__ == "__main__":
    main()
