"""The Processing algorithms: Mask clouds, Mask a folder, Preview."""

import json
from pathlib import Path

from qgis import core

from .runner import run

MODELS = ["fast", "unet", "attention-unet"]
UNITS = ["auto", "reflectance", "landsat-l1", "landsat-l2", "sentinel2", "sentinel2-baseline4", "scaled-8bit"]
NAMES = {"MODEL_FILE": "model"}
NOT_OPTIONS = ("INPUT", "PRODUCT", "EXTENT", "OUTPUT")
"""Parameters that are not command-line options; all others are options of the same name, or of that in `NAMES`."""


def member(owner, scope, name):
    """A member of an enum: an attribute of the class in QGIS 3 (Qt 5), of the enum in the class in QGIS 4 (Qt 6)."""
    return getattr(owner, name) if hasattr(owner, name) else getattr(getattr(owner, scope), name)


DOUBLE = member(core.QgsProcessingParameterNumber, "Type", "Double")
INTEGER = member(core.QgsProcessingParameterNumber, "Type", "Integer")
FOLDER = member(core.QgsProcessingParameterFile, "Behavior", "Folder")
ADVANCED = member(core.QgsProcessingParameterDefinition, "Flag", "FlagAdvanced")
POLYGON = member(core.QgsProcessing, "SourceType", "TypeVectorPolygon")


def choice(name, label, values):
    return core.QgsProcessingParameterEnum(name, label, values, defaultValue=0)


def number(name, label, default=None, low=0.0, high=1e12):
    return core.QgsProcessingParameterNumber(name, label, DOUBLE, default, default is None, low, high)


def advanced(parameter):
    parameter.setFlags(parameter.flags() | ADVANCED)
    return parameter


def scene():
    layer = "Scene: a four-band raster, or one band of a product"
    bands = "Band numbers of red, green, blue, near-infrared (empty: automatic)"
    return [
        core.QgsProcessingParameterRasterLayer("INPUT", layer, optional=True),
        core.QgsProcessingParameterFile("PRODUCT", "Or a product: archive, MTL file or STAC item", optional=True),
        choice("UNITS", "Units of the pixel values", UNITS),
        advanced(core.QgsProcessingParameterString("BANDS", bands, optional=True)),
        advanced(number("SUN_ELEVATION", "Sun elevation in degrees, for Level-1 values without metadata", None, 0, 90)),
    ]


def masking():
    label, kinds = "Or your own model file", "Models (*.safetensors *.onnx)"
    return [
        choice("MODEL", "Model", MODELS),
        advanced(core.QgsProcessingParameterFile("MODEL_FILE", label, optional=True, fileFilter=kinds)),
        number("THRESHOLD", "Threshold of cloud probability (empty: the model's own)", None, 0.01, 0.99),
        core.QgsProcessingParameterBoolean("SHADOWS", "Mask cloud shadow too", False),
        core.QgsProcessingParameterBoolean("SNOW", "Mask snow too, by short-wave infrared", False),
        core.QgsProcessingParameterBoolean("CIRRUS", "Mask thin cirrus too, by the band at 1.37 µm", False),
        number("BUFFER", "Grow clouds by, metres", 0),
        number("MIN_AREA", "Remove clouds smaller than, square metres", 0),
    ]


class Algorithm(core.QgsProcessingAlgorithm):
    """Base class of the algorithms, which have a key, a title, a help text, parameters and outputs."""

    def name(self):
        return self.key

    def displayName(self):  # noqa: N802 - QGIS's name
        return self.title

    def group(self):
        return "Clouds"

    def groupId(self):  # noqa: N802 - QGIS's name
        return "clouds"

    def shortHelpString(self):  # noqa: N802 - QGIS's name
        return self.help

    def createInstance(self):  # noqa: N802 - QGIS's name
        return type(self)()

    def initAlgorithm(self, configuration=None):  # noqa: N802 - QGIS's name
        for parameter in self.parameters():
            self.addParameter(parameter)
        for output in self.outputs():
            self.addOutput(output)

    def outputs(self):
        return []

    def source(self, parameters, context):
        """Path or URL of the scene. Raises core.QgsProcessingException."""
        layer = self.parameterAsRasterLayer(parameters, "INPUT", context)
        product = self.parameterAsFile(parameters, "PRODUCT", context)
        if (layer is None) == (not product):
            raise core.QgsProcessingException("give either a raster layer or a product file")
        return product or layer.source().partition("|")[0]

    def options(self, parameters, context):
        """The parameters as command-line options."""
        options = []
        for definition in self.parameterDefinitions():
            name, kind = definition.name(), definition.type()
            option = "--" + NAMES.get(name, name.lower().replace("_", "-"))
            if name in NOT_OPTIONS or (parameters.get(name) is None and definition.defaultValue() is None):
                continue
            if kind == "boolean":
                options += [option] if self.parameterAsBoolean(parameters, name, context) else []
                continue
            if kind == "enum":
                value = definition.options()[self.parameterAsEnum(parameters, name, context)]
            elif kind == "number":
                value = f"{self.parameterAsDouble(parameters, name, context):.12g}"
            elif kind == "raster":
                value = self.parameterAsRasterLayer(parameters, name, context).source()
            elif kind in ("rasterDestination", "vectorDestination"):
                value = self.parameterAsOutputLayer(parameters, name, context)
            else:
                value = self.parameterAsString(parameters, name, context)
            options += [option, value] if value else []
        return options


class MaskClouds(Algorithm):
    """Masks one scene."""

    key, title = "mask", "Mask clouds"
    help = (
        "Makes a cloud mask of a scene: 0 clear, 1 cloud, 2 cloud shadow, 3 snow, 4 thin cirrus if requested, 255 "
        "no data, on the scene's own grid. The scene is a raster with red, green, blue and near-infrared bands, any "
        "band of a Landsat product in a folder with the others, or a product's archive or MTL file. Polygons and "
        "probability are written if an output is set for them."
    )

    def parameters(self):
        probability = "Cloud probability, per cent"
        return [
            *scene(),
            core.QgsProcessingParameterExtent("EXTENT", "Only this extent", optional=True),
            *masking(),
            core.QgsProcessingParameterRasterDestination("OUTPUT", "Cloud mask"),
            core.QgsProcessingParameterVectorDestination("POLYGONS", "Cloud polygons", POLYGON, None, True, False),
            core.QgsProcessingParameterRasterDestination("PROBABILITY", probability, None, True, False),
        ]

    def outputs(self):
        return [
            core.QgsProcessingOutputNumber("CLOUD_PERCENT", "Cloud, per cent of valid pixels"),
            core.QgsProcessingOutputNumber("SHADOW_PERCENT", "Cloud shadow, per cent of valid pixels"),
        ]

    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802 - QGIS's name
        output = self.parameterAsOutputLayer(parameters, "OUTPUT", context)
        arguments = ["mask", self.source(parameters, context), "-o", output, "--overwrite", "--json"]
        if parameters.get("EXTENT"):
            layer = self.parameterAsRasterLayer(parameters, "INPUT", context)
            crs = [layer.crs()] if layer else []
            extent = self.parameterAsExtent(parameters, "EXTENT", context, *crs)
            bounds = (extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum())
            arguments.append("--extent=" + ",".join(repr(value) for value in bounds))
        options = self.options(parameters, context)
        done = run(
            [*arguments, *options, "--progress", "json"], feedback, lambda line: 100 * line["done"] / line["total"]
        )
        if done is None:
            return {}
        result = json.loads(done)
        if result["cloud_percent"] is not None:
            names = ("cloud", "shadow", "snow", "cirrus")
            shares = [f"{result[f'{n}_percent']:.1f} % {n}" for n in names if result[f"{n}_percent"] is not None]
            feedback.pushInfo(f"{', '.join(shares)}; {result['valid_percent']:.1f} % of pixels valid")
        written = {name: result[name.lower()] for name in ("POLYGONS", "PROBABILITY") if result[name.lower()]}
        percents = {name: result[name.lower()] for name in ("CLOUD_PERCENT", "SHADOW_PERCENT")}
        return {"OUTPUT": output, **written, **percents}


class MaskFolder(Algorithm):
    """Masks a folder of scenes."""

    key, title = "maskfolder", "Mask a folder"
    help = (
        "Masks every scene in a folder: Landsat folders, archives, four-band rasters. If it is run again with the "
        "same output folder, it continues where it stopped. Footprints with cloud percentages, a STAC collection "
        "and report.html describe the results."
    )

    def parameters(self):
        return [
            core.QgsProcessingParameterFile("INPUT", "Folder of scenes", FOLDER),
            *masking(),
            core.QgsProcessingParameterBoolean("POLYGONS", "Write cloud polygons too", False),
            core.QgsProcessingParameterBoolean("PROBABILITY", "Write cloud probability too", False),
            core.QgsProcessingParameterFolderDestination("OUTPUT", "Folder of masks"),
        ]

    def outputs(self):
        return [
            core.QgsProcessingOutputString("FOOTPRINTS", "Footprints"),
            core.QgsProcessingOutputNumber("DONE", "Scenes masked"),
            core.QgsProcessingOutputNumber("FAILED", "Scenes that failed"),
        ]

    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802 - QGIS's name
        output = self.parameterAsString(parameters, "OUTPUT", context)
        source = self.parameterAsFile(parameters, "INPUT", context)

        def share(line):
            if line["error"]:
                feedback.reportError(line["error"])
            return 100 * (line["done"] + line["before"] + line["failed"]) / line["total"]

        options = self.options(parameters, context)
        done = run(["batch", source, "-o", output, "--json", "--progress", "json", *options], feedback, share)
        if done is None:
            return {}
        counts = {name: json.loads(done).get(name.lower(), 0) for name in ("DONE", "FAILED")}
        return {"OUTPUT": output, "FOOTPRINTS": str(Path(output) / "footprints.gpkg"), **counts}


class Preview(Algorithm):
    """Draws a picture of a scene."""

    key, title = "preview", "Preview"
    help = "Draws a scene in natural colour or with near-infrared shown as red, with the clouds of a mask outlined."

    def parameters(self):
        kinds = "PNG (*.png);;JPEG (*.jpg);;WebP (*.webp)"
        return [
            *scene(),
            core.QgsProcessingParameterRasterLayer("MASK", "Its cloud mask", optional=True),
            choice("COLOUR", "Colours", ["natural", "nir", "both"]),
            choice("CLOUD", "Clouds as", ["outline", "overlay"]),
            core.QgsProcessingParameterNumber("SIZE", "Longer side, pixels", INTEGER, 1200, False, 16, 8192),
            core.QgsProcessingParameterFileDestination("OUTPUT", "Picture", kinds),
        ]

    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802 - QGIS's name
        output = self.parameterAsFileOutput(parameters, "OUTPUT", context)
        arguments = ["preview", self.source(parameters, context), "-o", output, "--overwrite"]
        done = run([*arguments, *self.options(parameters, context)], feedback, lambda line: 0)
        return {} if done is None else {"OUTPUT": output}
