"""What eyes see, measured by networks whose weights the user gives: LPIPS, DISTS and FID.

Nothing here is downloaded unasked; `codectk.perceptual.weights` says where weights are looked for.
"""
