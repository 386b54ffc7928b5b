"""The files of a map: format, saving, loading, export."""
