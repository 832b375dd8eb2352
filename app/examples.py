"""One question and its candidates, for every dialect's example in the API's description."""

from pydantic import JsonValue

QUERY = "How can I stop my dog from barking at night?"
PASSAGES: list[JsonValue] = [
    "Night barking dogs kept the village awake.",
    "Tire the puppy out with a long evening walk, ignore the noise, and reward quiet.",
    "The bark of an oak tree is rough.",
]
