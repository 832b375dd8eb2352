"""The CPU's own ways: shards on threads, padding, and formats below float32 with their error."""

import itertools
import json
import shutil
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.settings import SHIPPED_CHECKPOINT
from engine import checkpoint as checkpoints_of
from engine.backends import blank
from engine.backends.torch import cpu, products
from engine.config import EngineConfig
from engine.errors import StartError
from engine.tokenizer import PairTokenizer
from engine.types import Batch, Checkpoint, Logits, Pair, Query

pytestmark = pytest.mark.anyio

LENGTHS = (5, 3, 2, 33, 7, 7, 7, 64, 200, 129, 512, 7)
TOLERANCE = 1e-4  # float32
# Kendall's tau, against float32, within a question's passages.
TAU = {"bf16": 0.98, "int8": 0.96}
# Largest difference from float32's logits on the development set, which spread over ±6.
ERROR = {"bf16": 0.2, "int8": 0.6}
compiles = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own
needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs g++")
lengths = st.lists(st.integers(2, 512), min_size=1, max_size=300)


def open_backend(checkpoint: Checkpoint, threads: int = 1, dtype: str = "auto") -> cpu.CpuBackend:
    config = EngineConfig(checkpoint="", compute_threads=threads, dtype=dtype)
    try:
        return cpu.open(checkpoint, config)
    except StartError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def shipped() -> Checkpoint:
    return checkpoints_of.load(EngineConfig(checkpoint=str(SHIPPED_CHECKPOINT)))


def random_pairs(seed: int = 3) -> list[Pair]:
    random = np.random.default_rng(seed)
    return [Pair(random.integers(1000, 30000, n, dtype=np.int32), max(1, n // 3)) for n in LENGTHS]


@given(lengths=lengths, threads=st.integers(1, 9))
def test_every_row_is_in_one_shard_and_all_threads_have_as_much_to_do(
    lengths: list[int], threads: int
) -> None:
    shards = cpu.share_out(lengths, threads)
    assert sorted(itertools.chain(*shards)) == list(range(len(lengths)))
    tokens = [sum(lengths[row] for row in shard) for shard in shards]
    assert max(tokens) - min(tokens) <= max(lengths)
    assert len(shards) % threads == 0 or len(shards) == len(lengths)


def test_padding_is_small_and_leaves_few_numbers_of_tokens() -> None:
    for tokens in range(256, 8192):
        assert tokens <= cpu.padded(tokens) <= tokens * 1.13
        assert cpu.padded(tokens) - tokens != 1
    assert len({cpu.padded(tokens) for tokens in range(1, 1024)}) < 70


def test_a_batch_scores_the_same_on_any_number_of_threads(shipped: Checkpoint) -> None:
    batch = Batch.pack(random_pairs())
    expected = open_backend(shipped).score(batch)
    assert np.std(expected) > 0.5
    for threads in (2, 3, 16):
        got = open_backend(shipped, threads).score(batch)
        np.testing.assert_allclose(got, expected, atol=TOLERANCE)


def test_batches_that_run_side_by_side_keep_their_own_scores(shipped: Checkpoint) -> None:
    backend = open_backend(shipped, threads=2)
    batches = [Batch.pack(random_pairs(seed)) for seed in range(4)]
    expected = [backend.score(batch) for batch in batches]
    waits = [backend.start(batch) for batch in batches]
    for wait, wanted in reversed(list(zip(waits, expected, strict=True))):
        np.testing.assert_allclose(wait(), wanted, atol=TOLERANCE)


def test_a_single_pair_is_computed_by_all_threads_together(shipped: Checkpoint) -> None:
    backend = open_backend(shipped, threads=3)
    pairs = random_pairs()
    expected = backend.score(Batch.pack(pairs))
    alone = [backend.score(Batch.pack([pair]))[0] for pair in pairs]
    np.testing.assert_allclose(alone, expected, atol=TOLERANCE)


def test_what_attention_works_on_is_reported_with_its_padding(shipped: Checkpoint) -> None:
    batch = Batch.pack(random_pairs())
    cells = open_backend(shipped, threads=2).cells(batch)
    assert batch.tokens <= cells <= batch.tokens * 1.13


@pytest.mark.parametrize("dtype", ["bf16", "int8"])
async def test_a_smaller_format_keeps_the_order_and_its_error_is_bounded(
    shipped: Checkpoint, dtype: str
) -> None:
    small = open_backend(shipped, dtype=dtype)
    expected = await development_scores(shipped, open_backend(shipped))
    got = await development_scores(shipped, small)
    taus = [tau(a, b) for a, b in zip(expected, got, strict=True)]
    assert np.mean(taus) >= TAU[dtype]
    errors = np.abs(np.concatenate(expected) - np.concatenate(got))
    assert TOLERANCE < errors.max() < ERROR[dtype]  # it is another format


@pytest.mark.parametrize("dtype", ["bf16", "int8"])
@pytest.mark.parametrize("family", ["llama_folder", "bert_folder", "xlmr_folder"])
def test_every_family_runs_in_a_smaller_format(
    family: str, dtype: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(family)
    checkpoint = checkpoints_of.load(EngineConfig(checkpoint=str(folder)))
    random = np.random.default_rng(5)
    size = checkpoint.config.vocab_size
    pairs = [Pair(random.integers(0, size, n, dtype=np.int32), max(1, n // 3)) for n in LENGTHS]
    if checkpoint.raw_config["model_type"] != "bert":
        pairs = [Pair(pair.ids, pair.tokens) for pair in pairs]
    batch = Batch.pack(pairs)
    expected = open_backend(checkpoint).score(batch)
    got = open_backend(checkpoint, dtype=dtype).score(batch)
    assert np.corrcoef(expected, got)[0, 1] > 0.99


def test_in_int8_a_product_is_off_by_half_a_step_of_input_and_of_weight_at_most() -> None:
    try:
        products.check("int8")
    except StartError as error:
        pytest.skip(str(error))
    random = torch.Generator().manual_seed(7)
    weight, bias = torch.randn(24, 32, generator=random), torch.randn(24, generator=random)
    noise = torch.randn(64, 32, generator=random)
    for x in (
        noise,
        noise + 3,
        noise.relu(),
        noise * 1e-9,
        noise / 8 + 1e6,
        torch.full_like(noise, 9),
    ):
        got = products.Quantized(weight, bias)(x)
        exact = torch.nn.functional.linear(x.double(), weight.double(), bias.double())
        half_steps = (x.amax(1) - x.amin(1))[:, None] / 255 / 2, weight.abs().amax(1) / 127 / 2
        inputs, weights = (
            half_steps[0] * weight.abs().sum(1),
            half_steps[1] * x.abs().sum(1)[:, None],
        )
        rounding = 1e-6 * (x.abs() @ weight.abs().T + bias.abs())
        assert ((got - exact).abs() <= 1.01 * (inputs + weights) + rounding).all()
    noise[5, 5] = torch.nan
    assert products.Quantized(weight, bias)(noise).isnan().all(1).nonzero().tolist() == [[5]]


def test_in_int8_what_shares_its_batch_moves_a_score_by_rounding_alone(shipped: Checkpoint) -> None:
    backend = open_backend(shipped, dtype="int8")
    pairs = random_pairs()
    together = backend.score(Batch.pack(pairs))
    alone = [backend.score(Batch.pack([pair]))[0] for pair in pairs]
    # float32 sums differ in their last digits, and may fall to either side of a step
    np.testing.assert_allclose(alone, together, atol=0.15)


@pytest.mark.parametrize("dtype", ["bf16", "int8"])
def test_a_format_is_refused_where_the_cpu_has_no_instructions_for_it(
    dtype: str, shipped: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    with pytest.raises(StartError, match=f"{dtype} is slow without one of .*: use fp32"):
        cpu.open(shipped, EngineConfig(checkpoint="", dtype=dtype))


def compiled_graphs() -> int:
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


@needs_compiler
@compiles
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("family", ["llama_folder", "bert_folder", "xlmr_folder", None])
def test_compiled_layers_score_alike_and_are_compiled_once(
    family: str | None, dtype: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(family) if family else SHIPPED_CHECKPOINT
    checkpoint = checkpoints_of.load(EngineConfig(checkpoint=str(folder)))
    plain = open_backend(checkpoint, 2, dtype)
    config = EngineConfig(checkpoint="", compute_threads=2, dtype=dtype, compile=True)
    compiled = cpu.open(checkpoint, config)
    before = compiled_graphs()
    compiled.warm_up()
    warm = compiled_graphs()
    assert warm > before
    for lengths in (LENGTHS, (3,), (40, 40)):
        batch = blank(lengths)
        batch.ids[:] = np.random.default_rng(5).integers(5, 100, batch.tokens)
        tolerance = TOLERANCE if dtype == "fp32" else ERROR[dtype]
        np.testing.assert_allclose(compiled.score(batch), plain.score(batch), atol=tolerance)
    assert compiled_graphs() == warm


@compiles
def test_what_cannot_be_compiled_is_refused(shipped: Checkpoint) -> None:
    with pytest.raises(StartError, match="takes fp32 or bf16, not int8: unset one"):
        cpu.open(shipped, EngineConfig(checkpoint="", dtype="int8", compile=True))
    torch._dynamo.reset()
    with (
        torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}),
        pytest.raises(StartError, match="install g\\+\\+, or unset it: InvalidCxxCompiler"),
    ):
        cpu.open(shipped, EngineConfig(checkpoint="", compile=True))


def test_formats_of_gpus_are_refused() -> None:
    with pytest.raises(StartError, match="fp16 needs a GPU"):
        products.check("fp16")


async def development_scores(checkpoint: Checkpoint, backend: cpu.CpuBackend) -> list[Logits]:
    lines = (SHIPPED_CHECKPOINT / "dev.jsonl").read_text().splitlines()
    tokenizer = PairTokenizer(checkpoint, 1)
    scores = []
    for item in map(json.loads, lines):
        pairs = await tokenizer.encode(Query(item["question"], item["passages"]))
        scores.append(backend.score(Batch.pack(pairs)))
    tokenizer.close()
    return scores


def tau(expected: Sequence[float] | Logits, got: Sequence[float] | Logits) -> float:
    """Kendall's, where there are no ties."""
    pairs = list(itertools.combinations(range(len(expected)), 2))
    agree = [(expected[i] < expected[j]) == (got[i] < got[j]) for i, j in pairs]
    return 2 * float(np.mean(agree)) - 1
