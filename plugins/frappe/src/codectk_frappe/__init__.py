"""FRAPPE for codectk: an image codec with one linear filter per channel and a large decoder."""
