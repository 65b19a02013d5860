"""The model's exception tree.

ModelError
├── CheckpointError     a folder that is not a VideoLLaMA3 checkpoint, or a wrong tensor in it
├── InputError          a frame, mask or question the engine cannot take
├── DataError           a training data file, or what it names, that cannot be used
├── BackendError        an attention backend that fails its start-up proof
├── AdmissionError      a camera that the memory budget has no room for
└── DeviceMemoryError   the device ran out of memory twice; no stream has changed
"""


class ModelError(Exception):
    """Anything the model library refuses or fails at."""


class CheckpointError(ModelError):
    """A model folder is incomplete, has too much, or holds a tensor of the wrong shape."""


class InputError(ModelError):
    """A frame, keep mask or question does not fit; the message says what was expected and got."""


class DataError(ModelError):
    """Training data does not fit its format; the message names the file and the line."""


class BackendError(ModelError):
    """An attention backend disagrees with the plain formula."""


class AdmissionError(ModelError):
    """A camera does not fit into the memory budget.

    Attributes:
        needed_bytes: what it may come to hold.
        left_bytes: what the budget has left.
    """

    def __init__(self, message: str, *, needed_bytes: int, left_bytes: int) -> None:
        super().__init__(message)
        self.needed_bytes = needed_bytes
        self.left_bytes = left_bytes


class DeviceMemoryError(ModelError):
    """The device has no memory left for a pass, even after letting go of what could be."""
