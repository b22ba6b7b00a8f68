package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	// Requests of operators are some hundred bytes.
	requestJSONBytesMax = 4 << 10
	// Beyond that a request is not even formatted.
	requestBytesMax = 64 << 10
	// Requests are not nested deeper than that, and tests hold them to it.
	nestingMax = 8
)

// describe returns a request for the log and whether it is a dry run.
func describe(request any) (json.RawMessage, bool) {
	message, ok := request.(proto.Message)
	if !ok {
		return quote(fmt.Sprintf("%T", request)), false
	}
	dry := isDryRun(message.ProtoReflect(), nestingMax)
	if size := proto.Size(message); size > requestBytesMax {
		return quote(fmt.Sprintf("%d bytes", size)), dry
	}
	message = proto.Clone(message)
	redact(message.ProtoReflect(), nestingMax)
	formatted, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
	if err != nil {
		return quote("unprintable: " + err.Error()), dry
	}
	// The library varies its spaces on purpose.
	var compact bytes.Buffer
	if err := json.Compact(&compact, formatted); err != nil {
		return quote("unprintable: " + err.Error()), dry
	}
	if compact.Len() > requestJSONBytesMax {
		return quote(shorten(compact.String(), requestJSONBytesMax)), dry
	}
	return compact.Bytes(), dry
}

func quote(text string) json.RawMessage {
	quoted, err := json.Marshal(text)
	if err != nil {
		return nil
	}
	return quoted
}

// shorten cuts a text to a number of bytes, and says so.
func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// isDryRun looks for a field of that name, also in parts of the message: requests
// to routers wrap those to nodes.
func isDryRun(message protoreflect.Message, nesting int) bool {
	dry := false
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsList() || field.IsMap():
		case field.Kind() == protoreflect.BoolKind && field.Name() == "dry_run":
			dry = value.Bool()
		case field.Message() != nil && nesting > 0:
			dry = isDryRun(value.Message(), nesting-1)
		}
		return !dry
	})
	return dry
}

// redact takes secrets out of a message.
func redact(message protoreflect.Message, nesting int) {
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case nesting == 0 || isSecret(field):
			message.Clear(field)
			if field.Kind() == protoreflect.StringKind && !field.IsList() && !field.IsMap() {
				message.Set(field, protoreflect.ValueOfString("redacted"))
			}
		case field.IsMap():
			if field.MapValue().Message() != nil {
				value.Map().Range(func(_ protoreflect.MapKey, entry protoreflect.Value) bool {
					redact(entry.Message(), nesting-1)
					return true
				})
			}
		case field.Message() == nil:
		case field.IsList():
			for i := range value.List().Len() {
				redact(value.List().Get(i).Message(), nesting-1)
			}
		default:
			redact(value.Message(), nesting-1)
		}
		return true
	})
}

// isSecret goes by names, so that nobody has to remember it for a new field.
func isSecret(field protoreflect.FieldDescriptor) bool {
	if field.Kind() != protoreflect.StringKind && field.Kind() != protoreflect.BytesKind {
		return false
	}
	name := string(field.Name())
	for _, word := range []string{"secret", "password", "private_key", "credential"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return name == "token" || strings.HasSuffix(name, "_token") && name != "page_token" && name != "next_page_token"
}
