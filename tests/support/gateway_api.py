"""The shapes of the Gateway API that our routes keep to, as JSON schemas.

The part that we use of `gateway.networking.k8s.io/v1` (sigs.k8s.io/gateway-api, 1.1 and
newer), with nothing besides: what is not named here is a mistake.
"""

NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
HOST = {"type": "string", "pattern": r"^(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*$"}
PORT = {"type": "integer", "minimum": 1, "maximum": 65535}


def thing(required, **properties):
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required.split(),
        "properties": properties,
    }


def some(items, at_most):
    return {"type": "array", "items": items, "minItems": 1, "maxItems": at_most}


def resource(kind, spec):
    return thing(
        "apiVersion kind metadata spec",
        apiVersion={"const": "gateway.networking.k8s.io/v1"},
        kind={"const": kind},
        metadata=thing("name", name=NAME, namespace=NAME, labels={"type": "object"}),
        spec=spec,
    )


PARENT = thing("name", name=NAME, namespace=NAME, sectionName=NAME, port=PORT)
# A Service has to be named with its port.
BACKEND = thing("name port", name=NAME, port=PORT, weight={"type": "integer"})
REDIRECT = thing(
    "",
    scheme={"enum": ["http", "https"]},
    statusCode={"enum": [301, 302]},
    hostname=HOST,
    port=PORT,
)
MATCH = thing(
    "path",
    path=thing(
        "type value",
        type={"enum": ["Exact", "PathPrefix", "RegularExpression"]},
        value={"type": "string", "pattern": "^/", "maxLength": 1024},
    ),
)
# GEP-2257: what Go reads as a duration, with up to five digits a unit.
DURATION = {"type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"}


def route(kind, rule):
    return resource(
        kind,
        thing(
            "parentRefs rules",
            parentRefs=some(PARENT, 32),
            hostnames=some(HOST, 16),
            rules=some(rule, 16),
        ),
    )


KINDS = {
    "Gateway": resource(
        "Gateway",
        thing(
            "gatewayClassName listeners",
            gatewayClassName=NAME,
            listeners=some(
                thing(
                    "name port protocol",
                    name=NAME,
                    port=PORT,
                    protocol={"enum": ["HTTP", "HTTPS", "TLS", "TCP", "UDP"]},
                    hostname=HOST,
                    tls=thing(
                        "certificateRefs",
                        mode={"enum": ["Terminate", "Passthrough"]},
                        certificateRefs=some(thing("name", name=NAME), 64),
                    ),
                    allowedRoutes=thing(
                        "",
                        namespaces=thing(
                            "", **{"from": {"enum": ["All", "Selector", "Same"]}}
                        ),
                    ),
                ),
                64,
            ),
        ),
    ),
    "HTTPRoute": route(
        "HTTPRoute",
        thing(
            "",
            matches=some(MATCH, 64),
            filters=some(
                thing(
                    "type requestRedirect",
                    type={"const": "RequestRedirect"},
                    requestRedirect=REDIRECT,
                ),
                16,
            ),
            timeouts=thing("", request=DURATION, backendRequest=DURATION),
            backendRefs=some(BACKEND, 16),
        ),
    ),
    "GRPCRoute": route("GRPCRoute", thing("", backendRefs=some(BACKEND, 16))),
}
