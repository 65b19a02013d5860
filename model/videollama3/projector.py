"""From the vision encoder's width to the decoder's."""

from torch import Tensor, nn

from model.videollama3.config import ModelConfig


class Projector(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.readout = nn.Sequential(
            nn.Linear(config.vision.hidden_size, config.text.hidden_size),
            nn.GELU(),
            nn.Linear(config.text.hidden_size, config.text.hidden_size),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map merged features (M, vision width) to token rows (M, text width)."""
        out: Tensor = self.readout(features)
        return out
