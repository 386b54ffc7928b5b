"""Words and sentences: an offline sentence encoder, and the matching of phrases to names."""
