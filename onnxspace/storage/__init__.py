"""Files that are whole or absent, work that can be taken up again, and checks of untrusted names and JSON.

At the bottom, since a full disk, a killed process or a hostile name must be answered alike everywhere.
"""
