"""Reranking: query and passages in, raw logits out. Knows nothing of HTTP.

`import engine` needs no torch, no web framework and no GPU.
"""
