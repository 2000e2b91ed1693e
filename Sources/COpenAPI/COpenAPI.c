#include "COpenAPI.h"

// The contract is embedded in the program, so that there is only one file to deploy.
#pragma clang diagnostic ignored "-Wc23-extensions"

static const unsigned char json_bytes[] = {
#embed "../../openapi.json"
};

static const unsigned char yaml_bytes[] = {
#embed "../../openapi.yaml"
};

static const struct embedded_document json = {json_bytes, sizeof json_bytes};
static const struct embedded_document yaml = {yaml_bytes, sizeof yaml_bytes};

const struct embedded_document *embedded_openapi_json(void) { return &json; }

const struct embedded_document *embedded_openapi_yaml(void) { return &yaml; }
