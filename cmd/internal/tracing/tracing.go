// Package tracing sends spans where OpenTelemetry's standard environment
// variables say. Without them it is off.
//
//	OTEL_SDK_DISABLED=true                        off, whatever else is set
//	OTEL_TRACES_EXPORTER=none                     off
//	OTEL_TRACES_EXPORTER=otlp                     on
//	OTEL_EXPORTER_OTLP_ENDPOINT, ..._TRACES_ENDPOINT=URL   on, to there
//
// The exporter reads the other OTEL_EXPORTER_OTLP_* variables, the SDK
// OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER and OTEL_BSP_*.
package tracing

import (
	"context"
	"fmt"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
)

// Start returns where spans go, nil if tracing is off, and what sends the last
// ones. The version is told with the spans. It does not wait for the receiver;
// whether that takes spans never holds up a request.
func Start(ctx context.Context, env func(string) string, version string, log *zap.Logger) (trace.TracerProvider, func(context.Context) error, error) {
	nothing := func(context.Context) error { return nil }
	on, err := wanted(env)
	if err != nil || !on {
		return nil, nothing, err
	}
	exporter, err := otlptracegrpc.New(ctx)
	if err != nil {
		return nil, nothing, fmt.Errorf("tracing: %w: check the variables OTEL_EXPORTER_OTLP_*", err)
	}
	described, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "skerry"), attribute.String("service.version", version)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, nothing, fmt.Errorf("tracing: %w: check OTEL_RESOURCE_ATTRIBUTES", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("spans are lost", zap.Error(err)) }))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(described))
	return provider, provider.Shutdown, nil
}

func wanted(env func(string) string) (bool, error) {
	if strings.EqualFold(env("OTEL_SDK_DISABLED"), "true") {
		return false, nil
	}
	if protocol := protocolOf(env); protocol != "" && protocol != "grpc" {
		return false, fmt.Errorf("tracing: OTEL_EXPORTER_OTLP_PROTOCOL is %q: want grpc", protocol)
	}
	switch exporter := env("OTEL_TRACES_EXPORTER"); exporter {
	case "none":
		return false, nil
	case "otlp":
		return true, nil
	case "":
		return env("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "", nil
	default:
		return false, fmt.Errorf("tracing: OTEL_TRACES_EXPORTER is %q: want otlp or none", exporter)
	}
}

func protocolOf(env func(string) string) string {
	if protocol := env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"); protocol != "" {
		return protocol
	}
	return env("OTEL_EXPORTER_OTLP_PROTOCOL")
}
