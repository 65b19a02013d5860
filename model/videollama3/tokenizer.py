"""Text to token ids and back, for every checkpoint layout.

All have Qwen2.5's tokenizer, so the class is named here rather than looked up: a folder cannot
bring code of its own.
"""

from codecs import getincrementaldecoder
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Self

from transformers import Qwen2Tokenizer

from model.errors import CheckpointError
from model.videollama3.config import ModelConfig
from model.videollama3.files import one_line

MAX_UNUSED_ROWS = 1024
"""Most rows of an embedding beyond its vocabulary: padding is 271 in the released 2B, 399 in 7B."""

NUM_REMEMBERED = 4096
"""Texts whose ids are remembered: cameras share their stamps, and are asked the same again."""

VISUAL_PLACEHOLDERS = ("<image>", "<|video_pad|>")
"""The remote-code layout's, then the native one's: Qwen's own `<|video_pad|>` is in both."""

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_MAX_CHARACTER_BYTES = 4


def _bytes_of_letters() -> dict[str, int]:
    """Give the byte that each letter of a byte-level vocabulary stands for, as GPT-2 chose them.

    A printable byte is its own letter in Latin-1; the others are letters from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(0x100 + place): byte for place, byte in enumerate(others)
    }


_BYTES = _bytes_of_letters()


class Tokenizer:
    """Encodes prompt pieces and decodes answers.

    Attributes:
        visual_id: the id that stands for one visual token in a written-out prompt.
        im_start_id: the id that opens a turn.
        im_end_id: the id that closes a turn.
        end_ids: the ids at which an answer is over.
        control_words: texts that encode to control tokens and have no place in a question.
    """

    def __init__(self, tokenizer: Qwen2Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids_of = lru_cache(NUM_REMEMBERED)(self._encoded)
        self._vocab: dict[str, int] = tokenizer.get_vocab()
        self.im_start_id = self._control_id("<|im_start|>")
        self.im_end_id = self._control_id("<|im_end|>")
        self.end_ids = frozenset({self.im_end_id, self._control_id("<|endoftext|>")})
        self.visual_id = self._control_id(*VISUAL_PLACEHOLDERS)
        self.control_words: tuple[str, ...] = tuple(sorted(tokenizer.get_added_vocab()))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the tokenizer of a checkpoint folder.

        Raises:
            CheckpointError: its files are missing or broken, or a control token is not in it.
        """
        if not (folder / "tokenizer.json").is_file() and not (
            (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()
        ):
            raise CheckpointError(
                f"{folder}: expected tokenizer.json, or vocab.json and merges.txt; got neither"
            )
        try:
            tokenizer = Qwen2Tokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as exc:  # noqa: BLE001, `tokenizers` raises no kind of its own
            raise CheckpointError(
                f"{folder}: tokenizer.json cannot be read: {one_line(exc)}"
            ) from None
        return cls(tokenizer)

    def check_fits(self, config: ModelConfig) -> None:
        """Refuse a tokenizer that is not this network's.

        Raises:
            CheckpointError: it gives ids that the embedding has no row for, or leaves more rows
                unused than padding explains; or the configuration means other control tokens.
        """
        rows, num_ids = config.text.vocab_size, max(self._vocab.values()) + 1
        if not num_ids <= rows <= num_ids + MAX_UNUSED_ROWS:
            raise CheckpointError(
                f"tokenizer: expected one of a vocabulary of {rows} (config.json: vocab_size), "
                f"got one of {num_ids}: it belongs to another model"
            )
        if self.visual_id not in (config.video_token_id, config.image_token_id):
            raise CheckpointError(
                f"tokenizer: expected the visual token's id {config.video_token_id} "
                f"(config.json), got {self.visual_id}"
            )
        if self.end_ids.isdisjoint(config.eos_token_ids):
            raise CheckpointError(
                f"tokenizer: expected an end token among {list(config.eos_token_ids)} "
                f"(eos_token_id), got {sorted(self.end_ids)}"
            )

    def encode(self, text: str) -> list[int]:
        """Give the ids of `text`, control tokens recognised, none added."""
        return list(self._ids_of(text))

    def decode(self, ids: Sequence[int]) -> str:
        """Give the text of `ids` without its control tokens, in whole characters.

        A last character whose bytes are not all there is left out.
        """
        text = str(self._tokenizer.decode(list(ids), skip_special_tokens=True))
        if text.endswith(_REPLACEMENT) and self._is_unfinished(ids):
            return text.removesuffix(_REPLACEMENT)
        return text

    def _encoded(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def _is_unfinished(self, ids: Sequence[int]) -> bool:
        """Tell whether the last bytes are the beginning of a character."""
        tokens = self._tokenizer.convert_ids_to_tokens(list(ids), skip_special_tokens=True)
        # None stands for an id that the vocabulary has no token for.
        letters = "".join(token or "" for token in tokens)[-_MAX_CHARACTER_BYTES:]
        decoder = getincrementaldecoder("utf-8")("replace")
        decoder.decode(bytes(_BYTES.get(letter, 0) for letter in letters))
        return bool(decoder.getstate()[0])

    def _control_id(self, *candidates: str) -> int:
        """Give the id of the first candidate in the vocabulary."""
        for candidate in candidates:
            if candidate in self._vocab:
                return self._vocab[candidate]
        raise CheckpointError(
            f"tokenizer: expected the control token {' or '.join(candidates)}; it has none"
        )
