"""How programs talk to Gemel. In this release: a status page for this machine."""
