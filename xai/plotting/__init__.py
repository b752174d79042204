"""The parts behind `xai.plots`, which is what notebooks import."""
