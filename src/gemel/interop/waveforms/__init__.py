"""Waveforms: many samples in a second, kept as blocks of ten seconds in one sealed document, never as one row for each sample."""

from gemel.interop.waveforms.blocks import BLOCK_S, MEDIA_TYPE, Channel, Waveform, pack, unpack
from gemel.interop.waveforms.wfdb import Recording, is_wfdb, read_recording, recording_facts

__all__ = ["BLOCK_S", "MEDIA_TYPE", "Channel", "Recording", "Waveform", "is_wfdb", "pack", "read_recording", "recording_facts", "unpack"]
