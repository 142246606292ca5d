"""The commands of `vrn` beside `reconstruct` and `run`: what they take, and nothing heavy until they run."""
