"""Everything that a lab without internet needs, in one directory."""
