"""What a description in JSON Schema cannot say, for Schemathesis: models are those of the running app, and enough of them."""

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    """A request that is meant to be right asks no models that nobody has."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    for fields in (case.body, case.query):
        if isinstance(fields, dict):
            fields.pop("models", None)
