"""Atomic file writes, resumable work, locks, and validation of untrusted names and JSON.

The lowest layer, because a full disk, a killed process or a malicious name must be handled the same way everywhere.
"""
