#!/usr/bin/env python3
"""Checks the examples below `deploy/`, and the Dockerfile against them. Needs what `.ci/tools/deploy.txt` lists.

Every YAML, TOML and JSON file is parsed; Kubernetes manifests and Compose files, the README's too, are held against their schemas;
facts that several files tell (ports, users, times, sizes, paths) are compared; and with QCC_GATEWAY, the binary, `check` reads the
settings.
Before it trusts itself it sees itself fail: see `OFFENCES`.
"""

import copy
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib

import importlib_resources
import jsonschema
import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
K8S, COMPOSE = "deploy/kubernetes", "deploy/compose"
# The oldest and the newest that the manifests are meant for.
K8S_VERSIONS = ("1.27.0", "1.37.0")
SECRETS = "/run/secrets/qcc"
UNITS = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
SIZES = {"kib": 1 << 10, "ki": 1 << 10, "mib": 1 << 20, "mi": 1 << 20, "m": 1 << 20, "gib": 1 << 30, "gi": 1 << 30, "g": 1 << 30}


def seconds(text):
    parts = re.findall(r"(\d+)(ms|[hms])", text)
    if "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration")
    return sum(int(number) * UNITS[unit] for number, unit in parts)


def size(text):
    number, unit = re.fullmatch(r"(\d+)([A-Za-z]*)", text).groups()
    return int(number) * SIZES[unit.lower()]


def parsed(path):
    text = path.read_text(encoding="utf-8")
    match path.suffix:
        case ".yaml" | ".yml":
            return list(yaml.safe_load_all(text))
        case ".toml":
            return tomllib.loads(text)
        case ".json":
            return json.loads(text)
        case _:
            return text


def read():
    """Every file of the examples by its path, and the Dockerfile's instructions."""
    files = [path for path in sorted((ROOT / "deploy").rglob("*")) if path.is_file() and "secrets" not in path.parts]
    tree = {str(path.relative_to(ROOT)): parsed(path) for path in files}
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    # What stands behind the last FROM is what runs.
    final = text.rpartition("\nFROM ")[2]
    tree["Dockerfile"] = [line.split(" ", 1) for line in final.splitlines()[1:] if re.match(r"[A-Z]+ ", line)]
    tree["README.md"] = (ROOT / "README.md").read_text(encoding="utf-8")
    return tree


def image(tree):
    """What the image says of itself."""
    said = {}
    for instruction, value in tree["Dockerfile"]:
        said.setdefault(instruction, []).append(value)
    env = dict(pair.split("=", 1) for line in said["ENV"] for pair in line.split())
    return {name: values[-1] for name, values in said.items()} | {"ENV": env}


def manifests(tree):
    found = {}
    for path, documents in tree.items():
        if path.startswith(f"{K8S}/") and path.endswith(".yaml"):
            for document in documents:
                found[document["kind"]] = document
    return found


def of_schemas(tree):
    """What the schemas object to."""
    for path, documents in tree.items():
        if not path.startswith(f"{K8S}/") or not path.endswith(".yaml"):
            continue
        for document in documents:
            # A file for the tool, which no cluster gets to see; `of_kubernetes` looks at it.
            if document["kind"] == "Kustomization":
                continue
            for version in K8S_VERSIONS:
                try:
                    kubernetes_validate.validate(document, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    where = ".".join(map(str, error.path))
                    yield f"{path}: {where}: {error.message} (Kubernetes {version})"
    schema = json.loads(importlib_resources.files("compose").joinpath("config/compose_spec.json").read_text())
    for path, document in [(f"{COMPOSE}/compose.yaml", tree[f"{COMPOSE}/compose.yaml"][0]), ("README.md", of_yaml(tree))]:
        for error in jsonschema.Draft7Validator(schema).iter_errors(document):
            yield f"{path}: {'.'.join(map(str, error.path))}: {error.message}"


def of_yaml(tree):
    """The README's Compose file."""
    (block,) = re.findall(r"^```yaml\n(services:.*?)^```", tree["README.md"], re.MULTILINE | re.DOTALL)
    return yaml.safe_load(block)


def of_readme(tree):
    """Its commands and its Compose file leave a stop the time that it may take, and keep the state."""
    said, service = image(tree), of_yaml(tree)["services"]["qcc"]
    open_for = seconds(said["ENV"]["QCC__SERVER__SHUTDOWN_GRACE"])
    (stop,) = re.findall(r"^docker stop -t (\d+)", tree["README.md"], re.MULTILINE)
    for after in (int(stop), seconds(service["stop_grace_period"])):
        if after < open_for + 5:
            yield f"README.md: it may stop for {open_for} s and is killed after {after} s"
    if not any(mount.endswith(f":{said['VOLUME']}") for mount in service["volumes"]):
        yield f"README.md: its Compose file has no volume at {said['VOLUME']}"


def of_settings(name, settings, env, memory, stop_after):
    """What the settings and what surrounds them say of each other."""
    server = settings["server"]
    for key in env:
        section, _, key = key.removeprefix("QCC__").lower().partition("__")
        if key in settings.get(section, {}):
            yield f"{name}: {section}.{key} has no effect, for the image sets it as a variable"
    open_for = seconds(server.get("shutdown_delay", "0s")) + seconds(env["QCC__SERVER__SHUTDOWN_GRACE"])
    if not open_for + 5 <= stop_after <= open_for + 60:
        yield f"{name}: it may stop for {open_for} s and is killed after {stop_after} s"
    if memory < 2 * size(server["max_buffered"]) + size("256MiB"):
        yield f"{name}: server.max_buffered is too much for the memory limit"
    for path in secret_files(settings):
        if pathlib.PurePath(path).parent != pathlib.PurePath(SECRETS):
            yield f"{name}: {path} is not in {SECRETS}"


def secret_files(settings):
    """The files of all secrets."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from secret_files(value)
        elif key.endswith(("key_file", "token_file")):
            yield value


def of_image(tree):
    said = image(tree)
    env = said["ENV"]
    directory = str(pathlib.PurePath(env.get("QCC__STATE__FILE", "")).parent)
    if said.get("VOLUME") != directory:
        yield f"Dockerfile: the state file is in {directory}, the volume is {said.get('VOLUME')}"
    if said["STOPSIGNAL"] != "SIGTERM":
        yield "Dockerfile: it drains at SIGTERM"
    if not re.fullmatch(r"\d+:\d+", said["USER"]) or said["USER"].startswith("0:"):
        yield f"Dockerfile: the user is {said['USER']}: want numbers, by which runAsNonRoot can tell"
    if seconds(env.get("QCC__RELOAD__WATCH", "0s")) == 0:
        yield "Dockerfile: replaced keys are not seen"


def of_compose(tree):
    path = f"{COMPOSE}/compose.yaml"
    said, service = image(tree), tree[path][0]["services"]["gateway"]
    settings = tree[f"{COMPOSE}/settings/production.toml"]
    yield from of_settings(path, settings, said["ENV"], size(service["mem_limit"]), seconds(service["stop_grace_period"]))
    if service["user"] != said["USER"]:
        yield f"{path}: the user is {service['user']}, the image's {said['USER']}"
    if not (service["read_only"] and service["cap_drop"] == ["ALL"] and "no-new-privileges:true" in service["security_opt"]):
        yield f"{path}: the container may do more than it needs"
    mounts = dict(reversed(mount.removesuffix(":ro").rsplit(":", 1)) for mount in service["volumes"])
    if set(mounts) != {said["ENV"]["QCC_SETTINGS_DIR"], SECRETS, said["VOLUME"]}:
        yield f"{path}: mounted at {', '.join(sorted(mounts))}"
    published = [re.fullmatch(r"\$\{\w+:-([^}]*)\}:(\d+)", port).groups() for port in service["ports"]]
    if published != [(f"127.0.0.1:{said['EXPOSE']}", said["EXPOSE"])]:
        yield f"{path}: publishes {published}, the image listens on {said['EXPOSE']}, and only loopback is safe"
    wanted = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", yaml.safe_dump(tree[path])))
    told = dict(line.split("=", 1) for line in tree[f"{COMPOSE}/.env.example"].splitlines() if "=" in line)
    if wanted != told:
        yield f"{COMPOSE}/.env.example: tells of {told}, compose.yaml takes {wanted}"


def of_kubernetes(tree):
    said, kinds = image(tree), manifests(tree)
    files = {path.removeprefix(f"{K8S}/") for path in tree if path.startswith(f"{K8S}/")}
    if set(kinds["Kustomization"]["resources"]) != files - {"kustomization.yaml", "secret.example.yaml"}:
        yield f"{K8S}/kustomization.yaml: its list is not that of the files"
    if any(kinds["Secret"]["stringData"].values()):
        yield f"{K8S}/secret.example.yaml: holds a secret, which would work wherever it is applied"
    deployment = kinds["Deployment"]["spec"]
    pod = deployment["template"]["spec"]
    labels, name = deployment["template"]["metadata"]["labels"], f"{K8S}/deployment.yaml"
    container, context = pod["containers"][0], pod["securityContext"]
    settings = tomllib.loads(kinds["ConfigMap"]["data"]["production.toml"])
    memory = size(container["resources"]["limits"]["memory"])
    yield from of_settings(name, settings, said["ENV"], memory, pod["terminationGracePeriodSeconds"])
    if not settings["server"].get("shutdown_delay"):
        yield f"{name}: without server.shutdown_delay requests arrive when nobody listens any more"
    if f"{context['runAsUser']}:{context['runAsGroup']}" != said["USER"] or context["fsGroup"] != context["runAsGroup"]:
        yield f"{name}: its users are not the image's, {said['USER']}"
    own = container["securityContext"]
    if not context["runAsNonRoot"] or own["allowPrivilegeEscalation"] or not own["readOnlyRootFilesystem"]:
        yield f"{name}: the container may do more than it needs"
    if own["capabilities"] != {"drop": ["ALL"]} or context["seccompProfile"] != {"type": "RuntimeDefault"}:
        yield f"{name}: the container may do more than it needs"
    (port,) = container["ports"]
    if str(port["containerPort"]) != said["EXPOSE"]:
        yield f"{name}: its port is {port['containerPort']}, the image's {said['EXPOSE']}"
    routes = (ROOT / "src/http/own.rs").read_text(encoding="utf-8")
    for probe, route in [("startup", "live"), ("liveness", "live"), ("readiness", "ready")]:
        get = container[f"{probe}Probe"]["httpGet"]
        if get != {"path": f"/__qcc__/health/{route}", "port": port["name"]} or f'"/health/{route}"' not in routes:
            yield f"{name}: the {probe} probe asks {get}"
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    if set(mounts) != {said["ENV"]["QCC_SETTINGS_DIR"], SECRETS, said["VOLUME"]}:
        yield f"{name}: mounted at {', '.join(sorted(mounts))}"
    if any("subPath" in mount for mount in mounts.values()):
        yield f"{name}: what is mounted by subPath is never brought up to date"
    sources = {volume["name"]: volume for volume in pod["volumes"]}
    named = (
        sources["settings"]["configMap"]["name"], sources["secrets"]["secret"]["secretName"],
        sources["state"]["persistentVolumeClaim"]["claimName"],
    )
    if named != tuple(kinds[kind]["metadata"]["name"] for kind in ("ConfigMap", "Secret", "PersistentVolumeClaim")):
        yield f"{name}: its volumes are {named}"
    if deployment["replicas"] != 1 or deployment["strategy"] != {"type": "Recreate"}:
        yield f"{name}: two pods would write one state file"
    service = kinds["Service"]["spec"]
    selectors = [
        deployment["selector"]["matchLabels"], service["selector"], kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        kinds["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    if any(selector != labels for selector in selectors):
        yield f"{K8S}: not everybody selects the pod by {labels}"
    ingress = kinds["NetworkPolicy"]["spec"]["ingress"][0]["ports"][0]["port"]
    if not port["name"] == service["ports"][0]["targetPort"] == ingress or str(service["ports"][0]["port"]) != said["EXPOSE"]:
        yield f"{K8S}: the Service or the NetworkPolicy names another port"
    wanted = {pathlib.PurePath(path).name for path in secret_files(settings)}
    if wanted != set(kinds["Secret"]["stringData"]):
        yield f"{K8S}/secret.example.yaml: the settings want {sorted(wanted)}"


def faults(tree):
    """Everything that is wrong. A file without what is looked for is wrong too."""
    found = []
    for check in (of_schemas, of_image, of_readme, of_compose, of_kubernetes):
        try:
            found += check(tree)
        except (KeyError, ValueError, AttributeError, TypeError) as error:
            found.append(f"{check.__name__}: {type(error).__name__}: {error}")
    return found


def spec(tree):
    return manifests(tree)["Deployment"]["spec"]["template"]["spec"]


def gateway(tree):
    return tree[f"{COMPOSE}/compose.yaml"][0]["services"]["gateway"]


def rewrite(tree, instruction, old, new):
    for line in tree["Dockerfile"]:
        if line[0] == instruction:
            line[1] = line[1].replace(old, new)


# What would be wrong, and a part of what must then be said.
OFFENCES = [
    (lambda tree: spec(tree).update(terminationGracePeriodSecond=1), "terminationGracePeriodSecond"),
    (lambda tree: spec(tree).update(terminationGracePeriodSeconds=30), "killed after 30 s"),
    (lambda tree: spec(tree)["securityContext"].update(runAsUser=1000), "its users are not the image's"),
    (lambda tree: spec(tree)["containers"][0]["ports"][0].update(containerPort=8080), "its port is 8080"),
    (lambda tree: spec(tree)["containers"][0]["livenessProbe"]["httpGet"].update(path="/health"), "the liveness probe"),
    (lambda tree: spec(tree)["containers"][0]["securityContext"].update(readOnlyRootFilesystem=False), "may do more"),
    (lambda tree: spec(tree)["containers"][0]["resources"]["limits"].update(memory="512Mi"), "too much for the memory"),
    (lambda tree: spec(tree)["containers"][0]["volumeMounts"][2].update(mountPath="/data"), "mounted at /data"),
    (lambda tree: manifests(tree)["Deployment"]["spec"].update(replicas=2), "two pods would write one"),
    (lambda tree: manifests(tree)["Secret"]["stringData"].update({"main-key": "x"}), "holds a secret"),
    (lambda tree: manifests(tree)["Secret"]["stringData"].pop("main-key"), "the settings want"),
    (lambda tree: manifests(tree)["Service"]["spec"].update(selector={"app": "x"}), "not everybody selects"),
    (lambda tree: manifests(tree)["Kustomization"]["resources"].pop(), "its list is not that"),
    (lambda tree: gateway(tree).update(stop_grace="1m"), "stop_grace"),
    (lambda tree: gateway(tree).update(stop_grace_period="10s"), "killed after 10 s"),
    (lambda tree: gateway(tree).update(ports=["${QCC_LISTEN:-0.0.0.0:7860}:7860"]), "only loopback is safe"),
    (lambda tree: gateway(tree).update(user="0:0"), "the user is 0:0"),
    (lambda tree: gateway(tree).update(mem_limit="256m"), "too much for the memory"),
    (lambda tree: gateway(tree).update(image="${QCC_TAG:-x}"), "compose.yaml takes"),
    (lambda tree: tree[f"{COMPOSE}/settings/production.toml"].update(state={"file": "/x"}), "state.file has no effect"),
    (lambda tree: rewrite(tree, "ENV", "/var/lib/qcc/", "/data/"), "the state file is in /data"),
    (lambda tree: tree.update({"README.md": tree["README.md"].replace("stop -t 310", "stop -t 30")}), "README.md: it may stop"),
    (lambda tree: tree.update({"README.md": tree["README.md"].replace("read_only:", "readonly:")}), "README.md: services.qcc"),
    (lambda tree: rewrite(tree, "USER", "10001:10001", "qcc"), "want numbers"),
    (lambda tree: rewrite(tree, "ENV", "QCC__RELOAD__WATCH=10s", "QCC__RELOAD__WATCH=0s"), "not seen"),
]


def unseen(tree):
    """The offences that would not be seen."""
    for number, (offend, wanted) in enumerate(OFFENCES):
        offended = copy.deepcopy(tree)
        offend(offended)
        if not any(wanted in fault for fault in faults(offended)):
            yield f"self-test: offence {number} is not seen: want {wanted!r}"


def checked(binary, name, text, env):
    """What `check` says against settings, with their secrets in files of a directory of our own."""
    with tempfile.TemporaryDirectory() as directory:
        for path in secret_files(tomllib.loads(text)):
            pathlib.Path(directory, pathlib.PurePath(path).name).write_text("secret\n", encoding="utf-8")
        settings = pathlib.Path(directory, "production.toml")
        settings.write_text(text.replace(f"{SECRETS}/", f"{directory}/"), encoding="utf-8")
        # Not QCC_SETTINGS_DIR: this one file is what is asked about.
        env = {name: value for name, value in env.items() if name.startswith("QCC__")}
        run = subprocess.run(
            [binary, "check", "--settings", str(settings)], env=env, text=True, capture_output=True, check=False
        )
    return [] if run.returncode == 0 else [f"{name}: check ends with status {run.returncode}:\n{run.stdout}{run.stderr}"]


def of_binary(tree, binary):
    env = image(tree)["ENV"]
    path = f"{COMPOSE}/settings/production.toml"
    texts = {
        path: (ROOT / path).read_text(encoding="utf-8"),
        f"{K8S}/configmap.yaml": manifests(tree)["ConfigMap"]["data"]["production.toml"],
    }
    found = [fault for name, text in texts.items() for fault in checked(binary, name, text, env)]
    if not checked(binary, path, texts[path] + "\n[server2]\n", env):
        found.append("self-test: check takes settings with a table that there is not")
    return found


def main():
    tree = read()
    found = faults(tree) + list(unseen(tree))
    binary = os.environ.get("QCC_GATEWAY")
    if binary:
        found += of_binary(tree, binary)
    for fault in found:
        print(fault, file=sys.stderr)
    read_by = f"read by {binary}" if binary else "not read by a gateway: QCC_GATEWAY is not set"
    print(f"{len(tree)} files, {len(OFFENCES)} offences that are seen; the settings are {read_by}: {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
