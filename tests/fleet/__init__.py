"""Operators' own tools at work: make test-fleet. A test without its tool skips and says so."""
