"""FRAPPE for codectk: a progressive image codec with one linear filter per channel and a large decoder."""
