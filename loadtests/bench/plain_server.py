"""A rerank server as most people write it: FastAPI around sentence-transformers' CrossEncoder.

Runs in the peers' environment: python plain_server.py CHECKPOINT PORT
"""

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import CrossEncoder

app = FastAPI()
model = CrossEncoder(sys.argv[1], device="cpu")


class Request(BaseModel):
    """A query and its documents."""

    query: str
    documents: list[str]


@app.get("/health")
def health() -> dict[str, str]:
    """The model is loaded before the server starts."""
    return {"status": "ok"}


@app.post("/rerank")
def rerank(request: Request) -> dict[str, list[float]]:
    """Scores in the documents' order."""
    scores = model.predict([(request.query, document) for document in request.documents])
    return {"scores": scores.tolist()}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
