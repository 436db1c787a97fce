"""A checker for the part of JSON Schema that the API's description uses; what it does not know it refuses, so
that no constraint is passed over in silence."""
import math
import re

TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
}
ANNOTATIONS = {"description", "title", "format", "example", "default", "contentMediaType", "contentEncoding"}
KNOWN = ANNOTATIONS | {
    "$ref", "type", "enum", "const", "required", "properties", "additionalProperties", "items", "minItems", "maxItems",
    "minimum", "maximum", "minLength", "maxLength", "pattern", "anyOf", "oneOf", "allOf",
}


def is_type(value, kind):
    if kind == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, TYPES[kind])


def resolve(document, reference):
    assert reference.startswith("#/"), reference
    for part in reference[2:].split("/"):
        document = document[part.replace("~1", "/").replace("~0", "~")]
    return document


def check(value, schema, document, path="$"):
    """Fails with the path of what breaks the schema."""
    unknown = set(schema) - KNOWN
    assert not unknown, f"{path}: the checker does not know {unknown}"
    if "$ref" in schema:
        check(value, resolve(document, schema["$ref"]), document, path)
    if "type" in schema:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        assert any(is_type(value, kind) for kind in kinds), f"{path}: {value!r:.200} is no {schema['type']}"
    if "enum" in schema:
        assert value in schema["enum"], f"{path}: {value!r} is none of {schema['enum']}"
    if "const" in schema:
        assert value == schema["const"], f"{path}: {value!r} is not {schema['const']!r}"
    for name in ("anyOf", "oneOf"):
        if name in schema:
            fits = sum(holds(value, each, document) for each in schema[name])
            assert fits == 1 or (fits > 1 and name == "anyOf"), f"{path}: {fits} of {name} fit"
    for each in schema.get("allOf", []):
        check(value, each, document, path)
    if isinstance(value, dict):
        check_object(value, schema, document, path)
    if isinstance(value, list):
        assert len(value) >= schema.get("minItems", 0), f"{path}: too few items"
        assert len(value) <= schema.get("maxItems", len(value)), f"{path}: too many items"
        for i, item in enumerate(value):
            check(item, schema.get("items", {}), document, f"{path}[{i}]")
    if is_type(value, "number"):
        assert schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf), f"{path}: {value}"
    if isinstance(value, str):
        assert schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)), f"{path}: {value!r}"
        assert re.search(schema.get("pattern", ""), value), f"{path}: {value!r}"
        if schema.get("format") == "uuid":
            assert re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", value), f"{path}: {value!r}"
        if schema.get("format") == "date-time":
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", value), f"{path}: {value!r}"


def check_object(value, schema, document, path):
    for name in schema.get("required", []):
        assert name in value, f"{path}: '{name}' is missing"
    properties = schema.get("properties", {})
    for name, member in value.items():
        if name in properties:
            check(member, properties[name], document, f"{path}.{name}")
        elif "additionalProperties" in schema:
            extra = schema["additionalProperties"]
            assert extra is not False, f"{path}: '{name}' is not foreseen"
            if isinstance(extra, dict):
                check(member, extra, document, f"{path}.{name}")


def holds(value, schema, document):
    try:
        check(value, schema, document)
        return True
    except AssertionError:
        return False
