"""Table 1 of the paper, measured again: methods x databases, three sources side by side, verdicts
(`notebooks/08_table_1`).

======================== ==============================================================================
`vrnlib.table1.paper`    what the paper and the thesis print, and the words of the verdicts
`.authors`               the same cells from the first author's per-image errors
`.samples`               which faces of which database are scored, and how strange each is for training
`.entrants`              which methods take part, and which can run here
`.predictions`, `.store` each method on each face: one row a face, cached, resumable
`.span`, `.shapes`       how far a face lies from training's shapes
`.table`                 means, intervals, order, verdicts
`.curves`, `.paired`     cumulative curves and breakdowns; paired tests as in the thesis
`.cost`, `.pictures`     time and memory; best, median and worst faces, error maps
`.run`, `.report`        all of it, in order: what ``vrn table1`` calls
======================== ==============================================================================
"""
