"""First-stage candidates by BM25, made by bm25s where no run is given, and kept in a file.

The corpus goes through one document at a time, and no text is held. Document ids and word ids are,
and while bm25s makes its index some forty bytes for each different word of each document.
"""

import hashlib
import logging
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path

from app.evaluation import EvaluationError, missing_extra, runs
from app.evaluation.beir import Tell, corpus_path, corpus_stat, documents

try:
    import bm25s
    from bm25s.tokenization import Tokenized, Tokenizer
    from Stemmer import Stemmer
except ImportError as error:
    raise missing_extra("making candidates (no --run was given)", error) from error

logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets itself to DEBUG

_K1, _B = 0.9, 0.4  # Anserini's defaults, which most published BM25 figures on BEIR have
_LANGUAGE = "english"


def candidates(
    folder: Path, queries: Mapping[str, str], depth: int, output: Path, tell: Tell
) -> Path:
    """The run file, made unless it is there. Its name says what it was made from."""
    path = output / f"bm25-{_key(folder, queries, depth)}.trec"
    if not path.exists():
        runs.write(path, _ranked(folder, queries, depth, tell), "bm25s")
    return path


def _key(folder: Path, queries: Mapping[str, str], depth: int) -> str:
    stat = corpus_stat(folder)
    made_from = (bm25s.__version__, _K1, _B, depth, stat.st_size, stat.st_mtime_ns, queries)
    return hashlib.sha256(repr(made_from).encode()).hexdigest()[:12]


def _ranked(
    folder: Path, queries: Mapping[str, str], depth: int, tell: Tell
) -> Iterator[runs.Scored]:
    """Documents that share no word with a query are no candidates of it."""
    names: list[str] = []
    tokenizer = Tokenizer(stopwords=_LANGUAGE, stemmer=Stemmer(_LANGUAGE))
    texts = _texts(folder, names, tell)
    words = [array("i", ids) for ids in tokenizer.streaming_tokenize(texts)]
    if not names:
        raise EvaluationError(f"{corpus_path(folder)} is empty")
    index = bm25s.BM25(k1=_K1, b=_B, method="lucene")
    index.index(Tokenized(ids=words, vocab=tokenizer.get_vocab_dict()), show_progress=False)
    del words
    for query, text in queries.items():
        [asked] = tokenizer.tokenize([text], update_vocab=False, show_progress=False)
        found, scores = index.retrieve(
            [asked], k=min(depth, len(names)), show_progress=False, backend_selection="numpy"
        )
        for row, score in zip(found[0].tolist(), scores[0].tolist(), strict=True):
            if score > 0:
                yield query, names[row], score


def _texts(folder: Path, names: list[str], tell: Tell) -> Iterator[str]:
    """Each document's text; its id is added to the names."""
    for document in documents(folder, tell):
        names.append(document.id)
        yield document.text
