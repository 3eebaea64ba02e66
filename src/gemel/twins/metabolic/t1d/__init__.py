"""The UVA/Padova sub-room."""
