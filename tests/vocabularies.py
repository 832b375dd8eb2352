"""Tiny tokenizers of the three kinds crossrank serves, trained on the spot; no hub, no network."""

from collections.abc import Sequence

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

TEXT = """The cat sat on the mat while the dog slept beside the fire.
question: How much protein should a female eat? passage: The average requirement of protein for
women ages 19 to 70 is 46 grams per day. question: who wrote the play? passage: The play was
written by William Shakespeare around 1600, and it's still performed; they'd never cut it.
Volcanoes erupt when molten rock rises through the crust. Bread rises because yeast makes gas.
Ein größeres Gebäude steht über dem Fluß. Où est la bibliothèque? El niño comió una manzana.
日本語の文章をここに書きます。 Съешь ещё этих мягких французских булок. שלום עולם. مرحبا بالعالم.
""".splitlines()
# Source: the stock Llama 3.2 tokenizer.json.
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Llama 2 and GPT-2 kept longer numbers together; a tokenizer like this must still score exactly.
GPT2_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
BOS = "<|begin_of_text|>"
LLAMA_SPECIALS = (BOS, "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>")


def llama(split: str = LLAMA3_SPLIT) -> Tokenizer:
    """Byte-level BPE as in Llama 3: special ids after the vocabulary, BOS in front, no EOS."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.add_special_tokens(_special(LLAMA_SPECIALS))
    template = _template(tokenizer, f"{BOS} $A", f"{BOS} $A {BOS}:1 $B:1", (BOS,))
    levels = processors.ByteLevel(trim_offsets=False)
    tokenizer.post_processor = processors.Sequence([levels, template])
    return tokenizer


def bert() -> Tokenizer:
    """Uncased WordPiece with token types."""
    specials = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=500, special_tokens=list(specials), show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.post_processor = _template(
        tokenizer, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ("[CLS]", "[SEP]")
    )
    return tokenizer


def xlm_roberta() -> Tokenizer:
    """Unigram over Metaspace words, and RoBERTa's doubled separator."""
    specials = ("<s>", "<pad>", "</s>", "<unk>")
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=list(specials), unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.add_special_tokens(_special(("<mask>",)))
    tokenizer.post_processor = _template(
        tokenizer, "<s> $A </s>", "<s> $A </s> </s> $B </s>", ("<s>", "</s>")
    )
    return tokenizer


def _special(names: Sequence[str]) -> list[str | AddedToken]:
    return [AddedToken(name, normalized=False, special=True) for name in names]


def _template(
    tokenizer: Tokenizer, single: str, pair: str, names: Sequence[str]
) -> processors.TemplateProcessing:
    ids = [(name, tokenizer.token_to_id(name)) for name in names]
    return processors.TemplateProcessing(single=single, pair=pair, special_tokens=ids)
