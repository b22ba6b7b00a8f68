package tracing

import (
	"testing"

	"go.uber.org/zap"
)

func TestWanted(t *testing.T) {
	for _, test := range []struct {
		env   map[string]string
		on    bool
		fault bool
	}{
		{nil, false, false},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4317"}, true, false},
		{map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h:4317"}, true, false},
		{map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, true, false},
		{map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4317"}, false, false},
		{map[string]string{"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}, false, false},
		{map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, false, true},
		{map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, false, true},
	} {
		on, err := wanted(func(name string) string { return test.env[name] })
		if on != test.on || (err != nil) != test.fault {
			t.Errorf("%v: %v, %v", test.env, on, err)
		}
	}
}

func TestOffIsNil(t *testing.T) {
	provider, shutdown, err := Start(t.Context(), func(string) string { return "" }, "v1", zap.NewNop())
	if provider != nil || err != nil || shutdown(t.Context()) != nil {
		t.Errorf("got %v, %v", provider, err)
	}
}
