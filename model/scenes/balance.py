"""Balance: how often each yes/no topic is tried for no and for yes, so that both come out even."""

from typing import Final

# topic: (no, yes). Fitted once on 3,000 scenes: a topic's yes and no are tried in inverse
# proportion to how often a scene can give them, so that either answer comes as often.
ODDS: Final[dict[str, tuple[float, float]]] = {
    "person in view": (0.09544, 0.02022),
    "car in view": (0.02136, 0.04591),
    "bicycle in view": (0.00767, 0.05572),
    "dog in view": (0.01352, 0.02724),
    "parcel in view": (0.01405, 0.02816),
    "smoke": (0.03841, 0.07585),
    "fire": (0.02236, 0.03746),
    "fire or smoke": (0.01931, 0.01663),
    "gate open": (0.20807, 0.05871),
    "gate closed": (0.08323, 0.02349),
    "lights on": (0.05357, 0.00471),
    "lights off": (0.00785, 0.00516),
    "person of a colour": (0.02104, 0.00674),
    "car of a colour": (0.02925, 0.03061),
    "bicycle of a colour": (0.02110, 0.05572),
    "dog of a colour": (0.03167, 0.02724),
    "parcel of a colour": (0.03053, 0.02816),
    "moving": (0.03917, 0.02443),
    "person has left": (0.02184, 0.01994),
    "car has left": (0.02743, 0.04610),
    "bicycle has left": (0.01273, 0.04693),
    "dog has left": (0.01782, 0.03193),
    "person has entered": (0.03387, 0.01133),
    "car has entered": (0.03664, 0.04138),
    "bicycle has entered": (0.02115, 0.05810),
    "dog has entered": (0.03292, 0.04049),
    "gate has opened": (0.01373, 0.04538),
    "gate has closed": (0.01313, 0.03706),
    "parcel put down": (0.01116, 0.04919),
}
