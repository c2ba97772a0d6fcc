"""The Processing algorithms: Mask clouds, Mask a folder, Preview."""

import json
from pathlib import Path

from qgis.core import (
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorDestination,
)

from .runner import run

MODELS = ("fast", "unet", "attention-unet")
UNITS = (
    "auto",
    "reflectance",
    "landsat-l1",
    "landsat-l2",
    "sentinel2",
    "sentinel2-baseline4",
    "scaled-8bit",
)


def member(owner, scope, name):
    """A member of an enum: an attribute of the class in QGIS 3 (Qt 5), of the enum in that class in QGIS 4 (Qt 6)."""
    return getattr(owner, name) if hasattr(owner, name) else getattr(getattr(owner, scope), name)


DOUBLE = member(QgsProcessingParameterNumber, "Type", "Double")
INTEGER = member(QgsProcessingParameterNumber, "Type", "Integer")
FOLDER = member(QgsProcessingParameterFile, "Behavior", "Folder")
ADVANCED = member(QgsProcessingParameterDefinition, "Flag", "FlagAdvanced")
POLYGON = member(QgsProcessing, "SourceType", "TypeVectorPolygon")


CLASSES = (
    ("SHADOWS", "--shadows", "Mask cloud shadow too"),
    ("SNOW", "--snow", "Mask snow too, by short-wave infrared"),
    ("CIRRUS", "--cirrus", "Mask thin cirrus too, by the band at 1.37 µm"),
)
"""Parameters of further classes: name, option, label."""


class Algorithm(QgsProcessingAlgorithm):
    """Base of the algorithms: shared parameters, and their translation to options of the command line."""

    key = title = help = ""

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

    def add_scene(self):
        self.addParameter(
            QgsProcessingParameterRasterLayer(
                "INPUT", "Scene: a four-band raster, or one band of a product", optional=True
            )
        )
        self.addParameter(
            QgsProcessingParameterFile("PRODUCT", "Or a product: archive, MTL file or STAC item", optional=True)
        )
        self.addParameter(QgsProcessingParameterEnum("UNITS", "Units of the pixel values", list(UNITS), defaultValue=0))
        bands = QgsProcessingParameterString(
            "BANDS", "Band numbers of red, green, blue, near-infrared (empty: automatic)", optional=True
        )
        sun = QgsProcessingParameterNumber(
            "SUN_ELEVATION", "Sun elevation in degrees, for Level-1 values without metadata", DOUBLE, None, True, 0, 90
        )
        for parameter in (bands, sun):
            parameter.setFlags(parameter.flags() | ADVANCED)
            self.addParameter(parameter)

    def add_masking(self):
        self.addParameter(QgsProcessingParameterEnum("MODEL", "Model", list(MODELS), defaultValue=0))
        kinds = "Models (*.safetensors *.onnx)"
        own = QgsProcessingParameterFile("MODEL_FILE", "Or your own model file", optional=True, fileFilter=kinds)
        own.setFlags(own.flags() | ADVANCED)
        self.addParameter(own)
        self.addParameter(
            QgsProcessingParameterNumber(
                "THRESHOLD", "Threshold of cloud probability (empty: the model's own)", DOUBLE, None, True, 0.01, 0.99
            )
        )
        for name, _, label in CLASSES:
            self.addParameter(QgsProcessingParameterBoolean(name, label, False))
        self.addParameter(QgsProcessingParameterNumber("BUFFER", "Grow clouds by, metres", DOUBLE, 0, False, 0))
        self.addParameter(
            QgsProcessingParameterNumber("MIN_AREA", "Remove clouds smaller than, square metres", DOUBLE, 0, False, 0)
        )

    def scene(self, parameters, context):
        """The source, as geocloud takes it. Raises QgsProcessingException."""
        layer = self.parameterAsRasterLayer(parameters, "INPUT", context)
        product = self.parameterAsFile(parameters, "PRODUCT", context)
        if (layer is None) == (not product):
            raise QgsProcessingException("give either a raster layer or a product file")
        return product or layer.source().partition("|")[0]

    def reading(self, parameters, context):
        found = ["--units", UNITS[self.parameterAsEnum(parameters, "UNITS", context)]]
        if bands := self.parameterAsString(parameters, "BANDS", context):
            found += ["--bands", bands]
        if parameters.get("SUN_ELEVATION") is not None:
            found += ["--sun-elevation", str(self.parameterAsDouble(parameters, "SUN_ELEVATION", context))]
        return found

    def masking(self, parameters, context):
        own = self.parameterAsFile(parameters, "MODEL_FILE", context)
        found = ["--model", own or MODELS[self.parameterAsEnum(parameters, "MODEL", context)]]
        if parameters.get("THRESHOLD") is not None:
            found += ["--threshold", str(self.parameterAsDouble(parameters, "THRESHOLD", context))]
        found += [option for name, option, _ in CLASSES if self.parameterAsBoolean(parameters, name, context)]
        found += ["--buffer", str(self.parameterAsDouble(parameters, "BUFFER", context))]
        return [*found, "--min-area", str(self.parameterAsDouble(parameters, "MIN_AREA", context))]


class MaskClouds(Algorithm):
    """One scene."""

    key, title = "mask", "Mask clouds"
    help = (
        "Makes a cloud mask of a scene: 0 clear, 1 cloud, 2 cloud shadow, 3 snow, 4 thin cirrus if requested, 255 "
        "no data, on the scene's own grid. The scene is a raster with red, green, blue and near-infrared bands, any "
        "band of a Landsat product in a folder with the others, or a product's archive or MTL file. Polygons and "
        "probability are written if an output is set for them."
    )

    def initAlgorithm(self, configuration=None):  # noqa: N802 - QGIS's name
        self.add_scene()
        self.addParameter(QgsProcessingParameterExtent("EXTENT", "Only this extent", optional=True))
        self.add_masking()
        self.addParameter(QgsProcessingParameterRasterDestination("OUTPUT", "Cloud mask"))
        self.addParameter(
            QgsProcessingParameterVectorDestination("POLYGONS", "Cloud polygons", POLYGON, None, True, False)
        )
        self.addParameter(
            QgsProcessingParameterRasterDestination("PROBABILITY", "Cloud probability, per cent", None, True, False)
        )
        self.addOutput(QgsProcessingOutputNumber("CLOUD_PERCENT", "Cloud, per cent of valid pixels"))
        self.addOutput(QgsProcessingOutputNumber("SHADOW_PERCENT", "Cloud shadow, per cent of valid pixels"))

    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802 - QGIS's name
        output = self.parameterAsOutputLayer(parameters, "OUTPUT", context)
        results = {"OUTPUT": output}
        arguments = ["mask", self.scene(parameters, context), "-o", output, "--overwrite", "--json"]
        for name, option in (("POLYGONS", "--polygons"), ("PROBABILITY", "--probability")):
            if parameters.get(name):
                results[name] = self.parameterAsOutputLayer(parameters, name, context)
                arguments += [option, results[name]]
        if parameters.get("EXTENT"):
            layer = self.parameterAsRasterLayer(parameters, "INPUT", context)
            extent = (
                self.parameterAsExtent(parameters, "EXTENT", context, layer.crs())
                if layer
                else self.parameterAsExtent(parameters, "EXTENT", context)
            )
            bounds = (extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum())
            arguments.append("--extent=" + ",".join(repr(value) for value in bounds))
        arguments += [*self.reading(parameters, context), *self.masking(parameters, context), "--progress", "json"]
        done = run(arguments, feedback, lambda line: 100 * line["done"] / line["total"])
        if done is None:
            return {}
        found = json.loads(done)
        if found["cloud_percent"] is not None:
            names = ("cloud", "shadow", "snow", "cirrus")
            shares = [f"{found[f'{n}_percent']:.1f} % {n}" for n in names if found[f"{n}_percent"] is not None]
            feedback.pushInfo(f"{', '.join(shares)}; {found['valid_percent']:.1f} % of pixels valid")
        return {**results, "CLOUD_PERCENT": found["cloud_percent"], "SHADOW_PERCENT": found["shadow_percent"]}


class MaskFolder(Algorithm):
    """Many scenes."""

    key, title = "maskfolder", "Mask a folder"
    help = (
        "Masks every scene in a folder: Landsat folders, archives, four-band rasters. If it is run again with the "
        "same output folder, it continues where it stopped. Footprints with cloud percentages, a STAC collection "
        "and report.html describe the results."
    )

    def initAlgorithm(self, configuration=None):  # noqa: N802 - QGIS's name
        self.addParameter(QgsProcessingParameterFile("INPUT", "Folder of scenes", FOLDER))
        self.add_masking()
        self.addParameter(QgsProcessingParameterBoolean("POLYGONS", "Write cloud polygons too", False))
        self.addParameter(QgsProcessingParameterBoolean("PROBABILITY", "Write cloud probability too", False))
        self.addParameter(QgsProcessingParameterFolderDestination("OUTPUT", "Folder of masks"))
        self.addOutput(QgsProcessingOutputString("FOOTPRINTS", "Footprints"))
        self.addOutput(QgsProcessingOutputNumber("DONE", "Scenes masked"))
        self.addOutput(QgsProcessingOutputNumber("FAILED", "Scenes that failed"))

    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802 - QGIS's name
        output = self.parameterAsString(parameters, "OUTPUT", context)
        source = self.parameterAsFile(parameters, "INPUT", context)
        arguments = ["batch", source, "-o", output, "--json", "--progress", "json"]
        for name, option in (("POLYGONS", "--polygons"), ("PROBABILITY", "--probability")):
            if self.parameterAsBool(parameters, name, context):
                arguments.append(option)

        def share(line):
            if line["error"]:
                feedback.reportError(line["error"])
            return 100 * (line["done"] + line["before"] + line["failed"]) / line["total"]

        done = run([*arguments, *self.masking(parameters, context)], feedback, share)
        if done is None:
            return {}
        found = json.loads(done)
        footprints = str(Path(output) / "footprints.gpkg")
        return {
            "OUTPUT": output,
            "FOOTPRINTS": footprints,
            "DONE": found.get("done", 0),
            "FAILED": found.get("failed", 0),
        }


class Preview(Algorithm):
    """A picture of a scene."""

    key, title = "preview", "Preview"
    help = "Draws a scene in natural colour or with near-infrared shown as red, with the clouds of a mask outlined."
    colours, clouds = ("natural", "nir", "both"), ("outline", "overlay")

    def initAlgorithm(self, configuration=None):  # noqa: N802 - QGIS's name
        self.add_scene()
        self.addParameter(QgsProcessingParameterRasterLayer("MASK", "Its cloud mask", optional=True))
        self.addParameter(QgsProcessingParameterEnum("COLOUR", "Colours", list(self.colours), defaultValue=0))
        self.addParameter(QgsProcessingParameterEnum("CLOUD", "Clouds as", list(self.clouds), defaultValue=0))
        self.addParameter(QgsProcessingParameterNumber("SIZE", "Longer side, pixels", INTEGER, 1200, False, 16, 8192))
        self.addParameter(
            QgsProcessingParameterFileDestination("OUTPUT", "Picture", "PNG (*.png);;JPEG (*.jpg);;WebP (*.webp)")
        )

    def processAlgorithm(self, parameters, context, feedback):  # noqa: N802 - QGIS's name
        output = self.parameterAsFileOutput(parameters, "OUTPUT", context)
        arguments = ["preview", self.scene(parameters, context), "-o", output, "--overwrite"]
        arguments += ["--colour", self.colours[self.parameterAsEnum(parameters, "COLOUR", context)]]
        arguments += ["--cloud", self.clouds[self.parameterAsEnum(parameters, "CLOUD", context)]]
        arguments += ["--size", str(self.parameterAsInt(parameters, "SIZE", context))]
        if mask := self.parameterAsRasterLayer(parameters, "MASK", context):
            arguments += ["--mask", mask.source()]
        done = run([*arguments, *self.reading(parameters, context)], feedback, lambda line: 0)
        return {} if done is None else {"OUTPUT": output}
