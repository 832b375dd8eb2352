"""One question and its candidates, for every dialect's example in the API's description."""

from pydantic import JsonValue

QUERY = "How do I keep basil fresh?"
PASSAGES: list[JsonValue] = [
    "Basil is grown in many warm countries and sold fresh or dried.",
    "Stand the cut stems in a glass of water and leave it on the counter.",
    "The keep of a castle was its strongest tower.",
]
