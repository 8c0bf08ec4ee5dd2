"""CRDR for codectk: one image codec with a rate knob and a realism knob."""
