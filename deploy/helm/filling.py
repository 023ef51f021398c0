"""Where the values go: what of the manifests they say in the place of the base."""

from typing import Any

from forms import each, only_if, value


def fill_environment(variables: list[Any], service: str) -> None:
    """Let the values say what a service is told besides, and ingest of its way in."""
    for variable in variables:
        if variable["name"] == "BELLHOP_TRUSTED_PROXY_HOPS":
            variable["value"] = "«.Values.ingest.trustedProxyHops | quote»"
        elif variable["name"] == "BELLHOP_EXTERNAL_URL":
            # Without a way in there is none, and the service takes its default.
            del variable["value"]
            there = (
                "or .Values.ingest.externalUrl .Values.gateway.enabled "
                ".Values.ingress.enabled"
            )
            variable[only_if(there, "value")] = (
                "«.Values.gateway.enabled"
                " | ternary .Values.gateway.rest.host .Values.ingress.rest.host"
                ' | printf "https://%s"'
                " | coalesce .Values.ingest.externalUrl | quote»"
            )
    variables.append(each(f"{service}.extraEnv"))


def fill_scaling(document: Any, service: str) -> None:
    """Let the values say within which bounds a service is scaled."""
    spec, at = document["spec"], f"{service}.autoscaling"
    if document["kind"] == "HorizontalPodAutoscaler":
        spec["minReplicas"] = value(f"{at}.minReplicas")
        spec["maxReplicas"] = value(f"{at}.maxReplicas")
    elif document["kind"] == "ScaledObject":
        spec["minReplicaCount"] = value(f"{at}.minReplicas")
        spec["maxReplicaCount"] = value(f"{at}.maxReplicas")
        spec["triggers"][0]["metadata"]["natsServerMonitoringEndpoint"] = value(
            f"{at}.natsMonitor"
        )
    else:
        spec["secretTargetRef"][0]["name"] = value(f"{at}.secretName")


def fill_policy(document: Any) -> str:
    """Let the values say where others are; return when the policy is there."""
    name, spec = document["metadata"]["name"], document["spec"]
    enabled = ".Values.networkPolicy.enabled"
    if name == "everything":
        [rule] = spec["egress"]
        rule["to"] = value("networkPolicy.dns.to")
        rule["ports"] = value("networkPolicy.dns.ports")
    peers = {
        "postgres": "postgres",
        "nats": "nats",
        "delivery": "nats",
        "collector": "collector",
    }
    if name in peers:
        rule, at = spec["egress"][0], f"networkPolicy.{peers[name]}"
        rule["to"] = value(f"{at}.to")
        rule["ports"][0]["port"] = value(f"{at}.port")
    # A rule that names nobody would let everybody.
    return f"and {enabled} .Values.{at}.to" if name == "collector" else enabled


def fill_monitor(monitor: Any, authorization: Any) -> None:
    """Let the values say how the services are asked, and by whom."""
    [endpoint] = monitor["spec"]["endpoints"]
    authorization["credentials"]["name"] = value("secret.name")
    endpoint[only_if(".Values.monitoring.token", "authorization")] = authorization
    endpoint["interval"] = value("monitoring.interval")


def fill_alerts(rule: Any) -> None:
    """Let the values say where the pages of alerts are."""
    for group in rule["spec"]["groups"]:
        for alert in group["rules"]:
            if "annotations" in alert:
                told = alert["annotations"]
                told["runbook_url"] = told["runbook_url"].replace(
                    "docs/runbooks", "«.Values.monitoring.runbooks»"
                )


def fill_door(document: Any) -> str:
    """Let the values say what a door is called; return when it is there."""
    kind, name, spec = (
        document["kind"],
        document["metadata"]["name"],
        document["spec"],
    )
    if kind == "Ingress":
        at = "ingress.grpc" if name == "bellhop-grpc" else "ingress.rest"
        spec["ingressClassName"] = value("ingress.className")
        spec["tls"] = value(f"{at}.tls")
        spec["rules"][0]["host"] = value(f"{at}.host")
        document["metadata"]["annotations"] = value(f"{at}.annotations")
        return ".Values.ingress.enabled"
    if kind == "Gateway":
        spec["gatewayClassName"] = value("gateway.className")
        for listener in spec["listeners"]:
            at = "gateway.grpc" if listener["name"] == "grpc" else "gateway.rest"
            listener["hostname"] = value(f"{at}.host")
            if "tls" in listener:
                [certificate] = listener["tls"]["certificateRefs"]
                certificate["name"] = value(f"{at}.tlsSecretName")
    else:
        at = "gateway.grpc" if kind == "GRPCRoute" else "gateway.rest"
        spec["hostnames"] = [value(f"{at}.host")]
        if name == "bellhop":
            spec["parentRefs"] = value(f"{at}.parents")
    own = kind == "Gateway" or name == "bellhop-redirect"
    enabled = ".Values.gateway.enabled"
    return f"and {enabled} .Values.gateway.create" if own else enabled
