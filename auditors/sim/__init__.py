"""Simulated targets, auditors and judges that know the truth, and a server that puts them behind HTTP."""
