"""What a server is made of, as CycloneDX 1.6 on standard output (`make sbom`): the packages of
requirements.txt with their hashes, and the images of docker-compose.yml. Asks nobody."""

import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from pip_requirements_parser import RequirementsFile

ROOT = Path(__file__).resolve().parent.parent


def packages() -> Iterator[Component]:
    for found in RequirementsFile.from_file(str(ROOT / "requirements.txt")).requirements:
        (pin,) = found.specifier
        yield Component(
            type=ComponentType.LIBRARY,
            name=found.name,
            version=pin.version,
            bom_ref=f"pypi:{found.name}",
            purl=PackageURL("pypi", name=found.name, version=pin.version),
            hashes=[
                HashType(alg=HashAlgorithm.SHA_256, content=option.removeprefix("--hash=sha256:"))
                for option in found.hash_options
            ],
            properties=[Property(name="marker", value=str(found.marker))] if found.marker else [],
        )


def images() -> Iterator[Component]:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    for name, service in compose["services"].items():
        image, _, version = service["image"].partition(":")
        if version:
            folder, _, last = image.rpartition("/")
            yield Component(
                type=ComponentType.CONTAINER,
                name=image,
                version=version,
                bom_ref=f"service:{name}",
                purl=PackageURL("docker", namespace=folder or None, name=last, version=version),
            )


parts = [*packages(), *images()]
bom = Bom(components=parts)
bom.metadata.component = Component(type=ComponentType.APPLICATION, name="coinos", bom_ref="coinos")
bom.register_dependency(bom.metadata.component, parts)
outputter = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6)
sys.stdout.write(outputter.output_as_string(indent=2) + "\n")
