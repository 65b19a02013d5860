"""Why a pair is dropped: every reason there is, with what it means."""

REASONS = {
    "truncated": "the shard ends or is damaged at this pair; what came after it is lost",
    "unreadable_shard": "the shard cannot be read, or not on from here",
    "no_image": "the pair has no picture",
    "not_an_image": "its bytes are no picture, or a picture cut short",
    "too_large": "the picture has too many pixels or bytes to be opened",
    "no_caption": "the pair has no caption, or an empty one",
    "aspect_ratio": "the longer side is too many times the shorter",
    "small": "the shorter side has too few pixels",
    "blank": "grey levels lie too close together: nothing is shown",
    "same_id": "a pair with this id was there before",
    "duplicate": "another pair has the same picture, or nearly",
    "aesthetic_score": "the picture's aesthetic score is too low",
    "text_similarity": "the picture is not what the pair's caption says",
    "caption_similarity": "the picture cannot be said in few words: CLIP does not find it in "
    "BLIP-2's own caption",
    "not_finite": "a network gave no finite score or feature",
    "cluster_full": "its cluster has given as many as it may",
    "no_words": "the new caption is empty",
    "control_words": "the new caption holds a tag or a control token",
    "recaption_failed": "the engine that writes captions gave an error",
}
"""Reason -> what it means. It is a column of what is dropped, so names are not changed."""


class Refused(Exception):  # noqa: N818 (it is no failure: one pair of many is dropped)
    """A pair cannot be used.

    Attributes:
        reason: a key of `REASONS`.
        what: what came, in a few words.
    """

    def __init__(self, reason: str, what: str) -> None:
        super().__init__(f"{reason}: {what}")
        self.reason = reason
        self.what = what
