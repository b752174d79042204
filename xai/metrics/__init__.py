"""Plain functions that score: `classification`, `overlap`, `faithfulness` of saliency, and `text` of reports."""
