// Type support of TFMessage: returns the Fast DDS or the introspection implementation, both of which are in this library.
//
// The dispatch that rosidl generates looks up its implementations by library name at run time, which does not work for a
// single library. Without the introspection implementation, rmw cannot announce the fields of the type and reports an error.
#include <cstring>

#include "rosidl_runtime_c/message_type_support_struct.h"
#include "rosidl_typesupport_c/identifier.h"
#include "tf2_msgs/msg/detail/tf_message__functions.h"
#include "tf2_msgs/msg/detail/tf_message__rosidl_typesupport_fastrtps_c.h"
#include "tf2_msgs/msg/detail/tf_message__rosidl_typesupport_introspection_c.h"
#include "tf2_msgs/msg/detail/tf_message__type_support.h"

namespace
{
using TypeSupport = rosidl_message_type_support_t;

const TypeSupport * fastrtps()
{
  return ROSIDL_TYPESUPPORT_INTERFACE__MESSAGE_SYMBOL_NAME(rosidl_typesupport_fastrtps_c, tf2_msgs, msg, TFMessage)();
}

const TypeSupport * introspection()
{
  return ROSIDL_TYPESUPPORT_INTERFACE__MESSAGE_SYMBOL_NAME(rosidl_typesupport_introspection_c, tf2_msgs, msg, TFMessage)();
}

const TypeSupport * find(const TypeSupport * asked, const char * identifier)
{
  for (const TypeSupport * candidate : {asked, fastrtps(), introspection()}) {
    if (std::strcmp(candidate->typesupport_identifier, identifier) == 0) {
      return candidate;
    }
  }
  return nullptr;
}
}  // namespace

extern "C" const TypeSupport *
ROSIDL_TYPESUPPORT_INTERFACE__MESSAGE_SYMBOL_NAME(rosidl_typesupport_c, tf2_msgs, msg, TFMessage)()
{
  static const TypeSupport handle = {
    rosidl_typesupport_c__typesupport_identifier,
    nullptr,
    find,
    &tf2_msgs__msg__TFMessage__get_type_hash,
    &tf2_msgs__msg__TFMessage__get_type_description,
    &tf2_msgs__msg__TFMessage__get_type_description_sources,
  };
  return &handle;
}
