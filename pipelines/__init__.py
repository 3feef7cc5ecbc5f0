"""The path of one model: data -> tokens -> model -> training -> evaluation -> registration.

Nothing here knows of studies: `hpo` builds on `pipelines`, never the other way round.
"""
