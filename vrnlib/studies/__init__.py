"""Studies at a small fixed budget: what a choice in the design of the networks is worth.

`guidance` answers how landmarks enter VRN-Guided and whether they help, `architecture` what hourglasses,
residual modules and their number buy, `departures` what the laptop's recipe costs against the paper's. They
train many small networks on the same drawn faces (`small`), each from several seeds, change one thing at a
time, and write means with intervals over the seeds (`arms`) to ``results/studies``.

    python -m vrnlib.studies guidance
    python -m vrnlib.studies architecture
    python -m vrnlib.studies departures

A run that is interrupted goes on with the first network that it has not finished.
"""
